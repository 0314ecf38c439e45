import { type AttendBackwardInput, type AttentionSpec, OutOfMemoryError } from '@phsa/core'
import { expect, test } from 'vitest'
import { attendBackward } from '../src/attention/attend-backward.js'
import type { KernelMemory } from '../src/attention/kernel-host.js'
import type { KernelLaunch } from '../src/driver/kernel-launch.js'
import { HOPPER_SPEC } from './hopper-spec.js'

const FORCED = 'attend_forced_gradient_sm90'

test('one chunk of queries: no sums of the first keys to add', () => {
  const launches = launchesOf({}, 1000)
  expect(launches.map(({ kernel }) => kernel)).not.toContain('attend_forced_gradient_sum')
  expect(launches.find(({ kernel }) => kernel === FORCED)?.grid).toEqual([8, 9, 1])
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

test('more first tokens than there are keys are no more work', () => {
  const launches = launchesOf({ initTokens: 2 ** 20 }, 65536)
  expect(launches.find(({ kernel }) => kernel === FORCED)?.grid).toEqual([8, 514, 1])
  expect(launches.map(({ kernel }) => kernel)).not.toContain('attend_forced_gradient_sum')
})

test('where memory is short the parts of dq are worked in smaller slabs', () => {
  const slabsWithin = (free: number) =>
    launchesOf({}, 65536, { free }).filter(({ kernel }) => kernel === 'attend_query_gradient_sm90').length
  // 65536 rows x 16 slots x 2 heads x 256 bytes: 512 MB a KV head.
  expect(slabsWithin(2 ** 32)).toBe(2)
  // The first attempt, up to its slabs, has queued nothing of theirs.
  expect(slabsWithin(2 ** 30)).toBe(8)
  expect(() => slabsWithin(2 ** 20)).toThrow(OutOfMemoryError)
})

test('blocks of 64 tokens and many choices take the kernels written for them', () => {
  const kernels = launchesOf({ heads: 32, kvHeads: 2, blockSize: 64, initTokens: 64, topK: 55 }, 32768).map(({ kernel }) => kernel)
  // 7.4 GB of parts a KV head, 2 GB at a time.
  expect(kernels.filter((kernel) => kernel === 'selected_gradient_m64')).toHaveLength(8)
  expect(kernels.filter((kernel) => kernel.startsWith('attend_query_gradient'))).toEqual(Array(8).fill('attend_query_gradient_many_sm90'))
})

test('up to two choices take the kernel that adds the parts of several queries at once', () => {
  const queryGradient = (topK: number) =>
    launchesOf({ topK }, 1000)
      .map(({ kernel }) => kernel)
      .filter((kernel) => kernel.startsWith('attend_query_gradient'))
  expect(queryGradient(2)).toEqual(['attend_query_gradient_few_sm90'])
  expect(queryGradient(3)).toEqual(['attend_query_gradient_sm90'])
})

test('more sequences than a grid has room for take the kernels for all cases', () => {
  const kernels = launchesOf({}, 2 ** 20, { sequences: 60_000 }).map(({ kernel }) => kernel)
  expect(kernels.filter((kernel) => kernel.includes('sm90'))).toEqual([])
})

test.each<Partial<AttentionSpec>>([{ dtype: 'f32' }, { headDim: 64 }, { heads: 24 }])('the kernels for all cases take %j', (change) => {
  const kernels = launchesOf(change, 1000).map(({ kernel }) => kernel)
  expect(kernels.filter((kernel) => kernel.includes('sm90'))).toEqual([])
  expect(kernels.filter((kernel) => kernel.startsWith('attend_query_gradient'))).toHaveLength(1)
})

/** What attendBackward launches on a GPU that has all kernels, and room for scratch memory of so many bytes each. */
function launchesOf(
  change: Partial<AttentionSpec>,
  tokens: number,
  { sequences = 1, free = Number.POSITIVE_INFINITY }: { sequences?: number; free?: number } = {},
): KernelLaunch[] {
  const spec = { ...HOPPER_SPEC, ...change }
  const launches: KernelLaunch[] = []
  const device = { multiprocessors: 132, hasKernel: () => true, launch: (launch: KernelLaunch) => launches.push(launch) }
  const tensor = { shape: [], dispose: () => {} }
  const memory = {
    scratch(bytes: number, run: (scratch: { address: bigint }) => unknown) {
      if (bytes > free) throw new OutOfMemoryError(`${bytes} bytes`)
      return run({ address: 4096n })
    },
    address: () => 1n,
    make: () => tensor,
    alloc: () => tensor,
  } as unknown as KernelMemory
  const names = ['q', 'k', 'v', 'selected', 'out', 'lse', 'dOut'] as const
  const layout = {
    sequences,
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
