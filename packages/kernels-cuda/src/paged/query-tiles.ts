import { type AttentionSpec, isDense, isPhsaError, type PagedBatch } from '@phsa/core'
import { attendTiles, hasAttendTiles, looksAtChoices } from '../attention/attend-tiles.js'
import { rulesOf } from '../attention/call-params.js'
import type { KernelDevice, KernelMemory } from '../attention/kernel-host.js'
import { type AttendParams, BlockStartsParams, type Sequences } from '../attention/kernel-params.js'
import { type ParamValues, packParams } from '../attention/param-layout.js'
import type { SelectCall } from '../attention/select.js'
import { hasSelectTiles, selectTileBytes, selectTiles } from '../attention/select-tiles.js'

/** Threads of block_starts. */
const START_THREADS = 32
/** Rows of a tile of attend_sm90.cu: queries with the heads of a KV head. */
const TILE_ROWS = 128
/**
 * Query heads that the kernels for few queries are through with while each multiprocessor works on one tile, and while lists and tiles are made:
 * measured on an H200 with 16/8 heads and 32,768 keys, 0.07 ms for 64 queries or a wave of tiles.
 */
const HEADS_OF_A_WAVE = 1024
/** Tiles of representatives at most, bytes. */
const MOST_TILE_BYTES = 2 ** 30

/**
 * Queues the choice of blocks by tiles of neighbouring queries, as of a packed batch, where many of them come at once.
 * @param call representatives in f16
 * @returns whether it did: not for few queries, nor on a GPU without the kernels, nor where the representatives of all sequences have no room
 */
export function selectQueryTiles(
  device: KernelDevice,
  memory: KernelMemory,
  spec: AttentionSpec,
  batch: PagedBatch,
  call: SelectCall,
): boolean {
  const sequences = numbered(spec, batch, call.sequences)
  const own = { ...spec, topK: batch.maxTopK }
  if (isDense(spec) || !manyQueries(device, spec, batch) || selectTileBytes(spec, sequences) > MOST_TILE_BYTES) return false
  if (!hasSelectTiles(device, own, { ...call, sequences }, maxBlocks(spec, batch))) return false
  return withinRoom(() =>
    withBlockStarts(device, memory, spec, sequences, (sequences) => selectTiles(device, memory, own, { ...call, sequences })),
  )
}

/**
 * Queues attention by tiles of neighbouring queries, which read keys and values from their pages, where many of them come at once.
 * @returns whether it did
 */
export function attendQueryTiles(
  device: KernelDevice,
  memory: KernelMemory,
  spec: AttentionSpec,
  batch: PagedBatch,
  call: ParamValues<typeof AttendParams>,
): boolean {
  // In a dense layer nothing is selected, whatever the batch says.
  const own = { ...spec, topK: isDense(spec) ? 0 : batch.maxTopK }
  const most = maxBlocks(spec, batch)
  if (!manyQueries(device, spec, batch) || !hasAttendTiles(device, own, most)) return false
  const attend = (sequences: ParamValues<typeof Sequences>) =>
    attendTiles(device, memory, own, { ...call, sequences, rules: rulesOf(spec, own.topK), maxBlocks: most })
  return withinRoom(() => {
    if (!looksAtChoices(device, own, batch.queryTokens)) attend(call.sequences)
    else withBlockStarts(device, memory, spec, numbered(spec, batch, call.sequences), attend)
  })
}

/** Whether tiles take less time: a tile of one query, as of a sequence that only decodes, costs as much as one of many. */
function manyQueries({ multiprocessors }: KernelDevice, { heads, kvHeads }: AttentionSpec, batch: PagedBatch): boolean {
  const { sequences, queryTokens, maxQueries } = batch
  // As many as can bring queries beside the one that brings most.
  const used = Math.min(sequences, 1 + Math.max(0, queryTokens - maxQueries))
  const tiles = used + queryTokens / ((TILE_ROWS * kvHeads) / heads)
  return queryTokens * heads >= HEADS_OF_A_WAVE * (1 + Math.ceil((tiles * kvHeads) / multiprocessors))
}

function maxBlocks({ blockSize }: AttentionSpec, { maxKeys }: PagedBatch): number {
  return Math.ceil(maxKeys / blockSize)
}

/** With room for the blocks of all sequences that can bring queries. */
function numbered(spec: AttentionSpec, batch: PagedBatch, sequences: ParamValues<typeof Sequences>): ParamValues<typeof Sequences> {
  return { ...sequences, blocks: Math.min(batch.sequences, batch.queryTokens) * maxBlocks(spec, batch) }
}

/** Runs with the blocks of the sequences that bring queries numbered one after the other. */
function withBlockStarts(
  device: KernelDevice,
  memory: KernelMemory,
  spec: AttentionSpec,
  sequences: ParamValues<typeof Sequences>,
  run: (sequences: ParamValues<typeof Sequences>) => void,
): void {
  memory.scratch((sequences.sequences + 1) * Int32Array.BYTES_PER_ELEMENT, ({ address: starts }) => {
    const params = packParams(BlockStartsParams, { starts, sequences, rules: rulesOf(spec) })
    device.launch({ kernel: 'block_starts', grid: [1, 1, 1], block: START_THREADS, params })
    run({ ...sequences, blockStarts: starts })
  })
}

/** Whether there was room; nothing but scratch memory is written before that is known. */
function withinRoom(run: () => void): boolean {
  try {
    run()
    return true
  } catch (error) {
    if (!isPhsaError(error, 'out-of-memory')) throw error
    return false
  }
}
