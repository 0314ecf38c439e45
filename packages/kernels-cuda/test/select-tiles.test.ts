import type { AttentionSpec } from '@phsa/core'
import { expect, test } from 'vitest'
import { rulesOf } from '../src/attention/call-params.js'
import type { KernelMemory } from '../src/attention/kernel-host.js'
import { selectBlocks } from '../src/attention/select.js'
import type { KernelLaunch } from '../src/driver/kernel-launch.js'
import { HOPPER_SPEC } from './hopper-spec.js'

const MOST_SHARED_BYTES = 227 * 1024

test.each<[string, Partial<AttentionSpec>]>([
  ['select_logit_sm90', { score: 'logit', heads: 128 }],
  ['select_logit_many_sm90', { score: 'logit', topK: 17 }],
  ['select_logit_sm90', { heads: 8 }],
  ['select_logit_many_sm90', { heads: 8, topK: 64 }],
  ['select_softmax_sm90_g2', {}],
  ['select_softmax_sm90', { heads: 32 }],
  ['select_softmax_sm90', { heads: 24 }],
  ['select_softmax_many_sm90', { topK: 64 }],
])('%s takes %j, behind the kernel that makes its tiles', (kernel, change) => {
  const launches = launchesOf(change)
  expect(launches.map(({ kernel }) => kernel)).toEqual(['select_tiles_sm90', kernel])
  expect(launches[1].sharedBytes).toBeLessThanOrEqual(MOST_SHARED_BYTES)
})

test('each sequence has tiles of its own', () => {
  const [tiles, choice] = launchesOf({}, { tokens: 10_000, sequences: 3 })
  expect(tiles.grid).toEqual([Math.floor(625 / 128) + 4, 8, 1])
  expect(choice.grid.slice(0, 2)).toEqual([8, Math.floor(10_000 / 96) + 4])
})

test.each<[Partial<AttentionSpec>, Partial<Call>]>([
  [{ dtype: 'f32' }, {}],
  [{ headDim: 64 }, {}],
  [{ representatives: 2 }, {}],
  [{ score: 'overlap', representatives: 2 }, {}],
  [{ blockSize: 8 }, { tokens: 2 ** 20 }],
  [{}, { tokens: 2 ** 16, sequences: 2 ** 16 }],
  [{}, { paged: true }],
  [{}, { kernels: /^select_blocks/ }],
])('the kernel for all cases takes %j, %j', (change, call) => {
  expect(launchesOf(change, call).map(({ kernel }) => kernel)).toEqual([expect.stringMatching(/^select_blocks_(f32|bf16)_d\d+$/)])
})

interface Call {
  tokens: number
  sequences: number
  paged: boolean
  kernels: RegExp
}

/** What selectBlocks launches on a GPU whose kernels match. */
function launchesOf(
  change: Partial<AttentionSpec>,
  { tokens = 1000, sequences = 1, paged = false, kernels = /_sm90/ }: Partial<Call> = {},
) {
  const spec = { ...HOPPER_SPEC, ...change }
  const launches: KernelLaunch[] = []
  const device = {
    multiprocessors: 132,
    hasKernel: (name: string) => kernels.test(name),
    launch: (launch: KernelLaunch) => launches.push(launch),
  }
  const memory = {
    scratch: (_bytes: number, run: (scratch: { address: bigint }) => unknown) => run({ address: 4096n }),
  } as unknown as KernelMemory
  const starts = paged ? 0n : 256n
  selectBlocks(device, memory, spec, {
    q: 256n,
    reps: 256n,
    selected: 256n,
    sequences: {
      queryStarts: 256n,
      keyStarts: starts,
      blockStarts: starts,
      keyLengths: 0n,
      pageTable: 0n,
      topK: 0n,
      denseBelow: 0n,
      sequences,
      queryTokens: tokens,
      keyTokens: tokens,
      blocks: Math.ceil(tokens / spec.blockSize),
      pagesPerSequence: 0,
      pageTokens: 0,
    },
    rules: rulesOf(spec),
  })
  return launches
}
