import { type AttentionSpec, OutOfMemoryError } from '@phsa/core'
import { expect, test } from 'vitest'
import { attend } from '../src/attention/attend.js'
import { rulesOf } from '../src/attention/call-params.js'
import type { KernelMemory } from '../src/attention/kernel-host.js'
import { AttendTilesParams } from '../src/attention/kernel-params.js'
import type { KernelLaunch } from '../src/driver/kernel-launch.js'
import { HOPPER_SPEC } from './hopper-spec.js'

test('tiles of 64 queries of each of 8 KV heads, dense ones apart', () => {
  const launches = launchesOf({}, { tokens: 1000, sequences: 2 })
  expect(launches.map(({ kernel, grid }) => [kernel, grid])).toEqual([
    ['attend_lists_sm90', [20, 8, 1]],
    ['attend_tiles_sm90_g2', [132, 1, 1]],
  ])
})

test('lists that would take too much memory are made part by part, and the parts cover all tiles', () => {
  const launches = launchesOf({ topK: 64 }, { tokens: 2 ** 20 })
  const lists = launches.filter(({ kernel }) => kernel === 'attend_lists_sm90')
  expect(lists.length).toBeGreaterThan(1)
  expect(lists.reduce((sum, { grid }) => sum + grid[0], 0)).toBe(2 ** 20 / 64 + 3)
})

test.each([1, 2, 3, 8])('lists for %i KV heads are where 16 bytes can be copied at a time', (kvHeads) => {
  const launches = launchesOf({ kvHeads, heads: 2 * kvHeads }, { tokens: 203 })
  for (const { params } of launches) {
    const pointers = new BigUint64Array(params.slice().buffer)
    for (const field of ['units', 'masks'] as const) expect(pointers[Object.keys(AttendTilesParams).indexOf(field)] % 16n).toBe(0n)
  }
})

test.each([
  [32768, 1],
  [131072, 4],
])('%i tokens: tiles join what few queries of each share, a slab of KV heads after the other', (tokens, slabs) => {
  const launches = launchesOf({}, { tokens, kernels: /./ }).map(({ kernel }) => kernel)
  expect(launches.slice(0, 2)).toEqual(['attend_overlap_sm90', 'attend_lists_sm90'])
  expect(launches.slice(-2 * slabs)).toEqual(Array(slabs).fill(['attend_selected_bf16_d128_m16', 'attend_tiles_sm90_g2']).flat())
  expect(launches.filter((kernel) => kernel.startsWith('merge'))).toEqual([])
})

test('rows whose partial results do not fit at once are merged after the tiles', () => {
  const launches = launchesOf({}, { tokens: 2 ** 20, kernels: /./ }).map(({ kernel }) => kernel)
  expect(launches.lastIndexOf('attend_tiles_sm90_g2')).toBeLessThan(launches.indexOf('attend_selected_bf16_d128_m16'))
  expect(launches.at(-1)).toBe('merge_selected_bf16_d128')
})

test('where memory is short slabs are smaller, and in the end tiles do everything', () => {
  const slabsWithin = (free: number) =>
    launchesOf({}, { tokens: 32768, kernels: /./, free }).filter(({ kernel }) => kernel.startsWith('attend_selected')).length
  const all = slabsWithin(2 ** 30)
  expect(all).toBeGreaterThan(0)
  expect(slabsWithin(2 ** 28)).toBeGreaterThan(all)
  const launches = launchesOf({}, { tokens: 32768, kernels: /./, free: 2 ** 26 })
  expect(launches.at(-1)?.kernel).toBe('attend_tiles_sm90_g2')
  expect(() => slabsWithin(2 ** 16)).toThrow(OutOfMemoryError)
})

test.each<[Partial<AttentionSpec>, Partial<Call>]>([
  [{ dtype: 'f32' }, {}],
  [{ headDim: 64 }, {}],
  [{ blockSize: 8 }, {}],
  [{ heads: 24 }, {}],
  [{}, { paged: true }],
  [{}, { kernels: /^attend_bf16/ }],
])('the kernel for all cases takes %j, %j', (change, call) => {
  const launches = launchesOf(change, call)
  expect(launches.map(({ kernel }) => kernel)).toEqual([expect.stringMatching(/^attend_(f32|bf16)_d\d+_h\d$/)])
})

interface Call {
  tokens: number
  sequences: number
  paged: boolean
  kernels: RegExp
  /** Bytes that one piece of scratch memory may take. */
  free: number
}

/** What attend launches on a GPU whose kernels match. */
function launchesOf(
  change: Partial<AttentionSpec>,
  { tokens = 1000, sequences = 1, paged = false, kernels = /^attend_tiles/, free = Number.POSITIVE_INFINITY }: Partial<Call>,
) {
  const spec = { ...HOPPER_SPEC, ...change }
  const launches: KernelLaunch[] = []
  const device = {
    multiprocessors: 132,
    hasKernel: (name: string) => kernels.test(name),
    launch: (launch: KernelLaunch) => launches.push(launch),
  }
  const memory = {
    scratch(bytes: number, run: (scratch: { address: bigint }) => unknown) {
      if (bytes > free) throw new OutOfMemoryError(`${bytes} bytes`)
      return run({ address: 4096n })
    },
  } as unknown as KernelMemory
  const blocks = Math.ceil(tokens / spec.blockSize)
  attend(device, memory, spec, {
    q: 1n,
    k: 2n,
    v: 3n,
    selected: 4n,
    out: 5n,
    lse: 6n,
    sequences: {
      queryStarts: 7n,
      keyStarts: paged ? 0n : 8n,
      blockStarts: 9n,
      keyLengths: 0n,
      pageTable: 0n,
      topK: 0n,
      denseBelow: 0n,
      sequences,
      queryTokens: tokens,
      keyTokens: tokens,
      blocks,
      pagesPerSequence: 0,
      pageTokens: 0,
    },
    rules: rulesOf(spec),
  })
  return launches
}
