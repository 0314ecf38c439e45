import type { AttendBackwardInput, AttendGradients, AttentionSpec, Layout } from '@phsa/core'
import { computeDelta } from './attend-delta.js'
import { withBlockLists } from './block-lists.js'
import { packedSequences, rulesOf } from './call-params.js'
import { gradientSlabs } from './gradient-slabs.js'
import { MOST_EXTENT, rowTiles } from './kernel-grid.js'
import type { KernelDevice, KernelMemory } from './kernel-host.js'
import { ForcedKeyGradientParams, QueryGradientSlabParams } from './kernel-params.js'
import { type ParamValues, packParams } from './param-layout.js'
import { hasSelectedGradient, selectedGradient } from './selected-gradient.js'
import { withinMemory } from './within-memory.js'

/** The only head dimension, elements. */
const HEAD_DIM = 128
const KERNELS = [
  'attend_forced_gradient_sm90',
  'attend_forced_gradient_sum',
  'attend_query_gradient_sm90',
  'attend_query_gradient_many_sm90',
  'attend_query_gradient_few_sm90',
]
/** More choices of a query than that take the kernel that reads more of their parts at once. */
const MANY_CHOICES = 16
/** Up to so many choices, the kernel that reads the parts of several queries at once: attendQueryGradient's Slots there. */
const FEW_CHOICES = 2
/** kThreads of attend_forced_gradient_sm90.cu and of query_gradient_tiles.cuh. */
const FORCED_THREADS = 384
const QUERY_THREADS = 512
/**
 * Keys of a thread block, rows (query, head) of a thread block of the query gradient: kKeys of forced_gradient_work.cuh, kRows of
 * query_gradient_tiles.cuh.
 */
const KEYS = 128
const ROWS = 128
/** kSharedBytes of each, and what aligning it may take. */
const FORCED_SHARED_BYTES = 2 * KEYS * 256 + 4 * (2 * 64 * 256 + 2 * 64 * 4 + 16) + 1024
const QUERY_SHARED_BYTES = 3 * ROWS * 256 + 4 * (2 * 64 * 256 + 16) + 2 * ROWS * 4 + 5 * 8 + ROWS + 1024
const SUM_THREADS = 256
const SUM_KEYS = 8
/** Queries of a chunk that first keys are walked in, at least, and chunks of a whole batch times tiles of first keys, about. */
const LEAST_CHUNK = 1024
const CHUNKS = 32
/** More tiles of first keys fill the GPU without chunks, whose sums would take too much memory. */
const MOST_CHUNKED_TILES = 64
/** The parts of dq that selected blocks give, bytes at a time. */
const PARTIAL_BYTES = [2 ** 31, 2 ** 29, 2 ** 27]

/** Whether the kernels that are written for Hopper have this spec, and their grids room for this layout. */
export function hasHopperBackward(device: KernelDevice, spec: AttentionSpec, layout: Layout): boolean {
  const { chunkItems, items, initTiles } = forcedShape(layout, spec)
  return (
    hasSelectedGradient(device, spec) &&
    KERNELS.every((kernel) => device.hasKernel(kernel)) &&
    Math.max(items, chunkItems, spec.kvHeads * initTiles) <= MOST_EXTENT
  )
}

/** Gradients of q, k and v with the visible set held fixed, the same each time (spec 5), on tensor cores; for what hasHopperBackward accepts. */
export function attendBackwardHopper(device: KernelDevice, memory: KernelMemory, input: AttendBackwardInput): AttendGradients {
  const { q, k, v, spec } = input
  const dq = memory.make(q.shape, spec.dtype)
  const dk = memory.make(k.shape, spec.dtype)
  const dv = memory.make(v.shape, spec.dtype)
  withinMemory(PARTIAL_BYTES, (partialBytes) => queueGradients(device, memory, input, { dq, dk, dv }, partialBytes))
  return { dq, dk, dv }
}

function queueGradients(
  device: KernelDevice,
  memory: KernelMemory,
  input: AttendBackwardInput,
  { dq, dk, dv }: AttendGradients,
  partialBytes: number,
): void {
  const { q, k, v, selected, lse, dOut, layout, spec } = input
  const keySumBytes = layout.keyTokens * spec.kvHeads * HEAD_DIM * Float32Array.BYTES_PER_ELEMENT
  const deltaBytes = layout.queryTokens * spec.heads * Float32Array.BYTES_PER_ELEMENT
  memory.scratch(deltaBytes + 2 * keySumBytes, ({ address: dkForced }) => {
    const dvForced = dkForced + BigInt(keySumBytes)
    const delta = dvForced + BigInt(keySumBytes)
    computeDelta(device, memory, input, delta)
    const common = {
      q: memory.address(q),
      k: memory.address(k),
      v: memory.address(v),
      lse: memory.address(lse),
      delta,
      dOut: memory.address(dOut),
      sequences: packedSequences(memory, layout),
      rules: rulesOf(spec),
    }
    forcedKeyGradient(device, memory, layout, spec, { ...common, dk: dkForced, dv: dvForced })
    const chosen = memory.address(selected)
    const { sequences, rules } = common
    withBlockLists(device, memory, { selected: chosen, wanted: 0n, sectionRows: layout.queryTokens, sequences, rules }, (lists) => {
      const slabs = gradientSlabs(layout.queryTokens, spec, partialBytes)
      memory.scratch(Math.max(...slabs.map(({ bytes }) => bytes)), ({ address }) => {
        for (const { bytes, ...slab } of slabs) {
          const dqPartial = bytes > 0 ? address : 0n
          const keyGradients = { dk: memory.address(dk), dv: memory.address(dv), dkForced, dvForced }
          selectedGradient(device, memory, { ...common, ...keyGradients, lists }, { ...slab, dqPartial })
          queryGradient(device, spec, { ...common, selected: chosen, dqPartials: dqPartial, dq: memory.address(dq), ...slab })
        }
      })
    })
  })
}

/** f32 dk and dv of first tokens, local window and dense queries, all rows of k. */
function forcedKeyGradient(
  device: KernelDevice,
  memory: KernelMemory,
  layout: Layout,
  spec: AttentionSpec,
  common: Omit<ParamValues<typeof ForcedKeyGradientParams>, 'partials' | 'chunk' | 'chunkItems' | 'initTiles'>,
): void {
  const { initTiles, chunk, chunkItems, items } = forcedShape(layout, spec)
  // Sequences of more than one chunk take at most twice as many as they have whole chunks.
  const slots = chunkItems > 0 ? 2 * Math.floor(layout.queryTokens / chunk) + 2 : 0
  const partialBytes = slots * initTiles * spec.kvHeads * 2 * KEYS * HEAD_DIM * Float32Array.BYTES_PER_ELEMENT
  memory.scratch(partialBytes, ({ address: partials }) => {
    const params = packParams(ForcedKeyGradientParams, { ...common, partials, chunk, chunkItems, initTiles })
    device.launch({
      kernel: 'attend_forced_gradient_sm90',
      grid: [spec.kvHeads, items, 1],
      block: FORCED_THREADS,
      sharedBytes: FORCED_SHARED_BYTES,
      params,
    })
    if (partialBytes === 0) return
    device.launch({
      kernel: 'attend_forced_gradient_sum',
      grid: [KEYS / SUM_KEYS, spec.kvHeads * initTiles, chunkItems],
      block: SUM_THREADS,
      params,
    })
  })
}

/** Tiles of first keys, queries of a chunk that these are walked in and tiles of them, none where no sequence needs two, and thread blocks of a KV head. */
function forcedShape({ queryTokens, keyTokens, sequences }: Layout, { initTokens }: AttentionSpec) {
  const initTiles = Math.ceil(Math.min(initTokens, keyTokens) / KEYS)
  const chunks = initTiles > MOST_CHUNKED_TILES ? 1 : Math.max(2, Math.floor(CHUNKS / Math.max(1, initTiles)))
  const chunk = Math.max(LEAST_CHUNK, Math.ceil(queryTokens / chunks))
  const chunkItems = initTiles > 0 && queryTokens > chunk ? rowTiles(queryTokens, sequences, chunk) : 0
  return { initTiles, chunk, chunkItems, items: chunkItems * initTiles + rowTiles(keyTokens, sequences, KEYS) }
}

/** dq of a slab: the forced part, and what the selected blocks gave. */
function queryGradient(device: KernelDevice, spec: AttentionSpec, values: ParamValues<typeof QueryGradientSlabParams>): void {
  const tiles = rowTiles(values.rows, values.sequences.sequences + 2, (ROWS * spec.kvHeads) / spec.heads)
  device.launch({
    kernel: queryGradientKernel(spec.topK),
    grid: [Math.min(device.multiprocessors, tiles * values.kvHeads), 1, 1],
    block: QUERY_THREADS,
    sharedBytes: QUERY_SHARED_BYTES,
    params: packParams(QueryGradientSlabParams, values),
  })
}

function queryGradientKernel(topK: number): string {
  if (topK > MANY_CHOICES) return 'attend_query_gradient_many_sm90'
  return topK > FEW_CHOICES ? 'attend_query_gradient_sm90' : 'attend_query_gradient_few_sm90'
}
