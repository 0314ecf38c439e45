import type { AttendBackwardInput, AttentionSpec } from '@phsa/core'
import { expect, test } from 'vitest'
import { attendBackward } from '../src/attention/attend-backward.js'
import type { KernelMemory } from '../src/attention/kernel-host.js'
import type { KernelLaunch } from '../src/driver/kernel-launch.js'

const SPEC: AttentionSpec = {
  heads: 16,
  kvHeads: 8,
  headDim: 128,
  dtype: 'bf16',
  blockSize: 16,
  initTokens: 128,
  localTokens: 512,
  topK: 16,
  representatives: 1,
  score: 'softmax',
  denseBelow: 0,
}
const FORCED = 'attend_forced_gradient_sm90'

test('one chunk of queries: no sums of the first keys to add', () => {
  const launches = launchesOf({}, 1000)
  expect(launches.map(({ kernel }) => kernel)).not.toContain('attend_forced_gradient_sum')
  expect(launches.find(({ kernel }) => kernel === FORCED)?.grid).toEqual([8, 2 + 9, 1])
})

test('long sequences: first keys by chunks of queries, parts of dq for a slab at a time', () => {
  const launches = launchesOf({}, 65536)
  expect(launches.find(({ kernel }) => kernel === FORCED)?.grid).toEqual([8, 34 + 514, 1])
  expect(launches.find(({ kernel }) => kernel === 'attend_forced_gradient_sum')?.grid).toEqual([16, 8, 34])
  const slabs = launches.filter(({ kernel }) => kernel === 'attend_query_gradient_sm90')
  expect(slabs.map(({ grid }) => grid)).toEqual(Array.from(slabs, () => [132, 1, 1]))
  expect(slabs.length).toBe(2)
})

test('without first tokens no chunks', () => {
  const launches = launchesOf({ initTokens: 0 }, 32768)
  expect(launches.find(({ kernel }) => kernel === FORCED)?.grid).toEqual([8, 258, 1])
  expect(launches.map(({ kernel }) => kernel)).not.toContain('attend_forced_gradient_sum')
})

test.each<Partial<AttentionSpec>>([{ dtype: 'f32' }, { headDim: 64 }, { heads: 24 }])('the kernels for all cases take %j', (change) => {
  const kernels = launchesOf(change, 1000).map(({ kernel }) => kernel)
  expect(kernels.filter((kernel) => kernel.includes('sm90'))).toEqual([])
  expect(kernels.filter((kernel) => kernel.startsWith('attend_query_gradient'))).toHaveLength(1)
})

/** What attendBackward launches for one sequence on a GPU that has all kernels. */
function launchesOf(change: Partial<AttentionSpec>, tokens: number): KernelLaunch[] {
  const spec = { ...SPEC, ...change }
  const launches: KernelLaunch[] = []
  const device = { multiprocessors: 132, hasKernel: () => true, launch: (launch: KernelLaunch) => launches.push(launch) }
  const tensor = { shape: [], dispose: () => {} }
  const memory = {
    scratch: (_bytes: number, run: (scratch: { address: bigint }) => unknown) => run({ address: 4096n }),
    address: () => 1n,
    make: () => tensor,
    alloc: () => tensor,
  } as unknown as KernelMemory
  const names = ['q', 'k', 'v', 'selected', 'out', 'lse', 'dOut'] as const
  const layout = {
    sequences: 1,
    queryTokens: tokens,
    keyTokens: tokens,
    blocks: Math.ceil(tokens / spec.blockSize),
    queryStarts: tensor,
    keyStarts: tensor,
    blockStarts: tensor,
  }
  const input = { ...Object.fromEntries(names.map((name) => [name, tensor])), layout, spec } as unknown as AttendBackwardInput
  attendBackward(device, memory, input)
  return launches
}
