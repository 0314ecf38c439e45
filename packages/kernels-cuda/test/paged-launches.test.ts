import { type AttentionSpec, denseSpec, isPhsaError, OutOfMemoryError, type PagedBatch, type Tensor } from '@phsa/core'
import { expect, test } from 'vitest'
import { rulesOf } from '../src/attention/call-params.js'
import type { KernelMemory } from '../src/attention/kernel-host.js'
import type { KernelLaunch } from '../src/driver/kernel-launch.js'
import { attendPaged } from '../src/paged/attend-paged.js'
import { decodeStep, hasDecodeStep } from '../src/paged/decode-step.js'
import { hasSelectPaged, selectPaged } from '../src/paged/select-paged.js'
import { HOPPER_SPEC } from './hopper-spec.js'

const MULTIPROCESSORS = 132
const HOPPER = /./
const AMPERE = /^(?!.*_sm90)/

test.each<[string, Partial<Call>]>([
  ['select_decode_sm90_d128_n1_c8', {}],
  ['select_decode_sm90_d128_n1_c4', { sequences: 2 }],
  ['select_decode_sm90_d128_n1_c4', { sequences: 3 }],
  ['select_decode_sm90_d128_n1_c2', { sequences: 4 }],
  ['select_decode_sm90_d128_n1_c16', { change: { heads: 8, kvHeads: 4 } }],
  ['select_decode_sm90_d128_n1_c2', { sequences: 8 }],
  ['select_decode_sm90_d128_n1_c2_paired', { sequences: 64 }],
  ['select_decode_sm90_d128_n1_c8', { queries: 4 }],
  ['select_decode_sm90_d128_n2_c8', { queries: 8 }],
  ['select_decode_sm90_d128_n2_c8', { change: { heads: 128 } }],
  ['select_paged_d128_n4', { queries: 9 }],
  ['select_paged_d128_n1', { sequences: 64, queries: 4 }],
  ['select_paged_d128_n1', { kernels: AMPERE }],
  ['select_paged_d64_n1', { change: { headDim: 64 }, kernels: AMPERE }],
  ['select_paged_d128_n2', { change: { heads: 128 }, kernels: AMPERE }],
  // Scores that shared memory has no room for.
  ['select_paged_d128_n1', { keys: 2 ** 22, change: { heads: 64 } }],
])('blocks are chosen by %s for %j', (kernel, call) => {
  const launches = launchesOf(call).filter(({ kernel }) => kernel.startsWith('select'))
  expect(launches.map(({ kernel }) => kernel)).toEqual([kernel])
  expect(launches[0].overlaps).toEqual(['append_tokens'])
})

test.each<[string, Partial<Call>]>([
  ['attend_decode_sm90_d128_n1', {}],
  ['attend_decode_sm90_d128_n1', { sequences: 4 }],
  ['attend_decode_sm90_d64_n1', { change: { headDim: 64 } }],
  ['attend_paged_d128_n1', { sequences: 5 }],
  ['attend_paged_d128_n1', { change: denseSpec(HOPPER_SPEC) }],
  ['attend_paged_d128_n1', { kernels: AMPERE }],
  ['attend_paged_d128_n2', { change: { heads: 128 } }],
])('attention is by %s for %j', (kernel, call) => {
  const launches = launchesOf(call).filter(({ kernel }) => kernel.startsWith('attend'))
  expect(launches.map(({ kernel }) => kernel)).toEqual([kernel])
  expect(launches[0].overlaps).toEqual(['select_'])
})

test.each<[string | undefined, number, Partial<Call>]>([
  ['attend_step_sm90_d128_c8', 8, {}],
  ['attend_step_sm90_d128_c4', 4, { sequences: 4 }],
  ['attend_step_sm90_d128_c2', 2, { sequences: 8 }],
  ['attend_step_d128', 1, { sequences: 64 }],
  ['attend_step_d128', 1, { kernels: AMPERE }],
  ['attend_step_sm90_d128_c8', 8, { change: denseSpec(HOPPER_SPEC) }],
  [undefined, 0, { queries: 2 }],
  [undefined, 0, { keys: 8193 }],
  [undefined, 0, { change: { blockSize: 8 }, keys: 4104 }],
  [undefined, 0, { change: { heads: 128 } }],
  [undefined, 0, { change: { score: 'overlap' } }],
])('a step at once is by %s, %d thread blocks a query and KV head, for %j', (kernel, blocks, call) => {
  const { device, spec, batch, common, launches } = callOf({ keys: 1088, ...call })
  const cache = { keyPages: 256n, valuePages: 256n, reps: 256n, markedSums: 256n, marked: 256n, halfReps: 256n, arrivals: 256n }
  expect(hasDecodeStep(device, spec, batch)).toBe(kernel !== undefined)
  if (kernel === undefined) return
  decodeStep(device, spec, batch, cache, { ...common, k: 256n, v: 256n, marks: 256n, lambda: 256n, out: 256n, lse: 256n })
  expect(launches).toMatchObject([
    { kernel, grid: [8 * blocks * batch.sequences, 1, 1], sharedBytes: 2 * 80 * 4, overlaps: ['heads_rope'] },
  ])
})

test('a few queries share the GPU, many have a thread block each', () => {
  const blocksOf = (sequences: number) => launchesOf({ sequences, kernels: AMPERE }).slice(-1)[0].grid[0] / (8 * sequences)
  expect([blocksOf(1), blocksOf(8), blocksOf(64), blocksOf(1000)]).toEqual([64, 8, 1, 1])
})

test('a long chunk is worked in parts on other GPUs, shorter ones where memory is short', () => {
  const call = { queries: 4096, keys: 131072, kernels: AMPERE }
  const [bytes, parts] = [
    [2 ** 40, 2 ** 27],
    [0, 0],
  ]
  for (const [index, free] of bytes.entries())
    parts[index] = launchesOf({ ...call, free }).filter(({ kernel }) => kernel.startsWith('select')).length
  expect(parts[0]).toBeGreaterThan(1)
  expect(parts[1]).toBeGreaterThan(parts[0])
})

test('where not even one part has room it says so', () => {
  const failure = (() => {
    try {
      launchesOf({ queries: 4096, keys: 131072, free: 1000 })
    } catch (error) {
      return error
    }
  })()
  expect(isPhsaError(failure, 'out-of-memory')).toBe(true)
})

const CHOICE = ['block_starts', 'select_tiles_paged_sm90', 'select_softmax_sm90_g2']
const ATTENTION = ['attend_lists_sm90', 'attend_tiles_sm90_g2']

test.each<[string, string[], Partial<Call>]>([
  ['a chunk of a prompt', [...CHOICE, ...ATTENTION], { queries: 512 }],
  ['chunks of several prompts', [...CHOICE, ...ATTENTION], { queries: 256, sequences: 4 }],
  [
    'more than 16 blocks a query',
    [...CHOICE.slice(0, 2), 'select_softmax_many_sm90', ...ATTENTION],
    { queries: 512, change: { topK: 17 } },
  ],
  ['head dimension 64', ['select_paged_d64_n4', 'attend_paged_d64_n1'], { queries: 512, change: { headDim: 64 } }],
  ['blocks of 8: the choice', [...CHOICE, 'attend_paged_d128_n1'], { queries: 512, change: { blockSize: 8 } }],
  ['few queries', ['select_paged_d128_n4', 'attend_paged_d128_n1'], { queries: 100 }],
  ['few queries of each of many sequences', ['select_paged_d128_n4', 'attend_paged_d128_n1'], { queries: 9, sequences: 12 }],
  ['a dense layer, where nothing is chosen', ATTENTION, { queries: 512, change: denseSpec(HOPPER_SPEC) }],
  ['another GPU', ['select_paged_d128_n4', 'attend_paged_d128_n1'], { queries: 512, kernels: AMPERE }],
])('%s: %j', (_name, kernels, call) => {
  expect(launchesOf(call).map(({ kernel }) => kernel)).toEqual(kernels)
})

test('blocks are numbered for attention too where choices may be left to the kernel that works by blocks', () => {
  const launches = launchesOf({ queries: 8192 }).map(({ kernel }) => kernel)
  expect(launches.slice(3, 6)).toEqual(['block_starts', 'attend_overlap_sm90', 'attend_lists_sm90'])
  expect(launches).toContain('attend_selected_bf16_d128_m16')
})

test('tiles of the representatives have room for all sequences that can bring queries', () => {
  const blocks = (call: Partial<Call>) => launchesOf(call).find(({ kernel }) => kernel === 'select_tiles_paged_sm90')?.grid[0]
  expect(blocks({ queries: 512 })).toBe(2048 / 128 + 2)
  expect(blocks({ queries: 512, sequences: 4 })).toBe(4 * (2048 / 128 + 1) + 1)
})

test('where tiles of the representatives have no room the kernels for few queries work part by part', () => {
  const launches = launchesOf({ queries: 512, keys: 131072, free: 2 ** 24 }).map(({ kernel }) => kernel)
  expect(launches).not.toContain('select_tiles_paged_sm90')
  expect(launches.filter((kernel) => kernel === 'select_paged_d128_n4').length).toBeGreaterThan(1)
})

test('where lists have no room attention is by the kernel for few queries', () => {
  expect(launchesOf({ queries: 2048, keys: 8192, free: 2 ** 20 }).at(-1)?.kernel).toBe('attend_paged_d128_n1')
})

test('a batch whose representatives would take more than a gigabyte is for the kernels of few queries', () => {
  const kernel = (sequences: number) => launchesOf({ queries: 512, keys: 131072, sequences }).map(({ kernel }) => kernel)
  expect(kernel(60)).toContain('select_tiles_paged_sm90')
  expect(kernel(64)).not.toContain('select_tiles_paged_sm90')
})

test.each<[boolean, Partial<AttentionSpec>]>([
  [true, {}],
  [true, { headDim: 32 }],
  [true, { score: 'logit' }],
  [false, { dtype: 'f32' }],
  [false, { representatives: 2 }],
  [false, { score: 'overlap', representatives: 1 }],
])('%s: representatives are kept in f16 for %j', (kept, change) => {
  expect(hasSelectPaged({ ...HOPPER_SPEC, ...change })).toBe(kept)
})

interface Call {
  change: Partial<AttentionSpec>
  sequences: number
  /** Of each sequence. */
  queries: number
  keys: number
  kernels: RegExp
  /** Bytes that scratch memory may take. */
  free: number
}

/** What selectPaged and attendPaged launch on a GPU whose kernels match. */
function launchesOf(call: Partial<Call>) {
  const { device, memory, spec, batch, common, launches } = callOf(call)
  selectPaged(device, memory, spec, batch, { ...common, reps: 256n })
  attendPaged(device, memory, spec, batch, { ...common, k: 256n, v: 256n, out: 256n, lse: 256n })
  return launches
}

function callOf({ change = {}, sequences = 1, queries = 1, keys = 32768, kernels = HOPPER, free = 2 ** 40 }: Partial<Call>) {
  const spec = { ...HOPPER_SPEC, ...change }
  const launches: KernelLaunch[] = []
  const device = {
    multiprocessors: MULTIPROCESSORS,
    hasKernel: (name: string) => kernels.test(name),
    // Some multiprocessors are in no cluster.
    clustersAtOnce: (_kernel: string, cluster: number) => Math.floor((MULTIPROCESSORS - 8) / cluster),
    launch: (launch: KernelLaunch) => launches.push(launch),
  }
  const memory = {
    scratch: (bytes: number, run: (scratch: { address: bigint }) => unknown) => {
      if (bytes > free) throw new OutOfMemoryError('too much')
      return run({ address: 4096n })
    },
  } as unknown as KernelMemory
  const tensor = {} as Tensor
  const batch: PagedBatch = {
    sequences,
    queryTokens: sequences * queries,
    maxQueries: queries,
    maxKeys: keys,
    maxTopK: spec.topK,
    queryStarts: tensor,
    keyLengths: tensor,
    pageTable: tensor,
    topK: tensor,
    denseBelow: tensor,
  }
  const common = {
    q: 256n,
    selected: 256n,
    arrivals: 256n,
    sequences: {
      queryStarts: 256n,
      keyStarts: 0n,
      blockStarts: 0n,
      keyLengths: 256n,
      pageTable: 256n,
      topK: 256n,
      denseBelow: 256n,
      sequences,
      queryTokens: batch.queryTokens,
      keyTokens: 0,
      blocks: 0,
      pagesPerSequence: Math.ceil(keys / 64),
      pageTokens: 64,
    },
    rules: rulesOf(spec),
  }
  return { device, memory, spec, batch, common, launches }
}
