import type { AttentionSpec, PagedBatch } from '@phsa/core'
import { rowTiles } from '../attention/kernel-grid.js'
import type { KernelDevice, KernelMemory } from '../attention/kernel-host.js'
import { type Rules, SelectPagedParams, type Sequences } from '../attention/kernel-params.js'
import { type ParamValues, packParams } from '../attention/param-layout.js'
import { withinMemory } from '../attention/within-memory.js'
import { selectQueryTiles } from './query-tiles.js'
import { type ClusterDevice, selectDecode } from './select-decode.js'

/** Of choose_blocks.cuh and select_paged.cu: threads, columns of a product, blocks that a thread block scores at a time. */
const THREADS = 256
const COLUMNS = 8
const CHUNK = 128
/** Products that a warp makes of each representative. */
const PRODUCTS = [1, 2, 4]
/** Thread blocks a multiprocessor that are worth having. */
const BLOCKS_OF_MULTIPROCESSOR = 16
/** Scores at once, bytes; more queries are worked in parts. */
const SCORE_BYTES = [2 ** 28, 2 ** 25, 0]
const FLOAT_BYTES = Float32Array.BYTES_PER_ELEMENT

/** A choice of blocks by address. */
export interface PagedSelectCall {
  readonly q: bigint
  /** f16 [blocks of all pages, Hkv, D] */
  readonly reps: bigint
  /** i32 [Hkv, Tq, rules.topK], all of it written. */
  readonly selected: bigint
  /** i32 [ARRIVALS], 0 before and after. */
  readonly arrivals: bigint
  readonly sequences: ParamValues<typeof Sequences>
  readonly rules: ParamValues<typeof Rules>
}

/** Thread blocks of one unit of work find out by counters which is the last one: so many units at once. */
export const ARRIVALS = 2 ** 14

/** Whether select_paged.cu has the case: then the cache keeps representatives in f16 besides. */
export function hasSelectPaged({ dtype, representatives, score }: AttentionSpec): boolean {
  return dtype === 'bf16' && representatives === 1 && score !== 'overlap'
}

/**
 * Queues the choice of blocks from f16 representatives (spec 4).
 * @throws OutOfMemoryError where there is no room for the scores of a few queries
 */
export function selectPaged(
  device: KernelDevice & ClusterDevice,
  memory: KernelMemory,
  spec: AttentionSpec,
  batch: PagedBatch,
  call: PagedSelectCall,
): void {
  if (call.rules.topK === 0 || call.sequences.queryTokens === 0) return
  if (selectDecode(device, spec, batch, call) || selectQueryTiles(device, memory, spec, batch, call)) return
  withinMemory(SCORE_BYTES, (bytes) => queueSelect(device, memory, spec, batch, call, bytes))
}

function queueSelect(
  device: KernelDevice,
  memory: KernelMemory,
  { heads, kvHeads, headDim, blockSize }: AttentionSpec,
  { maxQueries, maxKeys }: PagedBatch,
  call: PagedSelectCall,
  bytes: number,
): void {
  const { queryTokens, sequences } = call.sequences
  const group = heads / kvHeads
  const products = PRODUCTS.find((count) => count * COLUMNS >= maxQueries * group) ?? PRODUCTS[PRODUCTS.length - 1]
  const columns = products * COLUMNS
  const tileQueries = Math.floor(columns / group)
  const tiles = rowTiles(queryTokens, sequences, tileQueries)
  const chunks = Math.max(1, Math.ceil(maxKeys / blockSize / CHUNK))
  // Tiles that are not empty.
  const used = Math.min(tiles, Math.floor(queryTokens / tileQueries) + Math.min(sequences, queryTokens))
  const splits = Math.min(chunks, Math.max(1, Math.floor((device.multiprocessors * BLOCKS_OF_MULTIPROCESSOR) / (used * kvHeads))))
  const scores = kvHeads * columns * chunks * CHUNK
  const sums = kvHeads * columns * splits * 2
  const most = Math.min(Math.floor(bytes / FLOAT_BYTES / (scores + sums)), Math.floor(ARRIVALS / kvHeads))
  const atOnce = Math.min(tiles, Math.max(1, most))
  memory.scratch(FLOAT_BYTES * atOnce * (scores + sums), ({ address }) => {
    for (let firstTile = 0; firstTile < tiles; firstTile += atOnce) {
      const count = Math.min(atOnce, tiles - firstTile)
      device.launch({
        kernel: `select_paged_d${headDim}_n${products}`,
        grid: [count * splits * kvHeads, 1, 1],
        block: THREADS,
        overlaps: ['append_tokens'],
        params: packParams(SelectPagedParams, {
          ...call,
          scores: address,
          sums: address + BigInt(FLOAT_BYTES * atOnce * scores),
          firstTile,
          splits,
          capacity: chunks * CHUNK,
          tileQueries,
        }),
      })
    }
  })
}
