import type { AttentionSpec } from '@phsa/core'
import { MOST_EXTENT, rowTiles } from './kernel-grid.js'
import type { KernelDevice, KernelMemory } from './kernel-host.js'
import { SelectTensorParams, SelectTilesParams } from './kernel-params.js'
import { packParams } from './param-layout.js'
import type { SelectCall } from './select.js'

/** Of select_queries.cuh and select_tiles.cuh: threads and rows of a warpgroup, blocks of a tile, bytes of a row of either, threads that make a tile. */
const WARPGROUP = 128
const ROWS = 64
const TILE = 128
const ROW_BYTES = 256
const TILE_THREADS = 256
/** Bytes, of an entry of a warpgroup's lists, of the log-sum-exps of up to 16 streamed heads, of a stage's barriers, and of what decides on a second pass. */
const ENTRY_BYTES = 1024
const LIFT_BYTES = 4096
const BARRIER_BYTES = 16
const VERDICT_BYTES = 16
/** Up to so many blocks to choose, maxima of columns give the thresholds. */
const MOST_BY_MAXIMA = 16
/** An entry has 16 bits for the block. */
const MOST_BLOCKS = 2 ** 16

/** A kernel of select_blocks_sm90.cu, by its template's parameters, or that of select_pair_sm90.cu. */
interface Variant {
  readonly kernel: string
  /** Operands of queries that a warpgroup keeps. */
  readonly operands: number
  /** Queries of a warpgroup. */
  readonly queries: number
  /** Shared memory beside operands, lists and tiles, bytes a warpgroup and a thread block. */
  readonly groupBytes: number
  readonly blockBytes: number
  /** Warpgroups with queries; one more brings in the tiles. */
  readonly groups: number
  /** Entries of a lane's list. */
  readonly capacity: number
}

const STAGES = 2
const SUMMED = { operands: 1, queries: ROWS, groupBytes: 0, blockBytes: 0, groups: 3, capacity: 36 }
const PAIRED = { operands: 1, queries: ROWS / 2, groupBytes: 0, blockBytes: VERDICT_BYTES, groups: 3, capacity: 36 }
const STREAMED = { operands: 2, queries: ROWS, groupBytes: LIFT_BYTES, blockBytes: 0, groups: 2, capacity: 40 }

/**
 * Whether the kernels of select_blocks_sm90.cu and select_pair_sm90.cu take this call: bf16, headDim 128, one representative a block, and a GPU that has it.
 * @param maxBlocks of one sequence
 */
export function hasSelectTiles(device: KernelDevice, spec: AttentionSpec, { sequences }: SelectCall, maxBlocks: number): boolean {
  return (
    spec.dtype === 'bf16' &&
    spec.headDim === 128 &&
    spec.representatives === 1 &&
    spec.score !== 'overlap' &&
    maxBlocks > 0 &&
    maxBlocks <= MOST_BLOCKS &&
    queryTiles(spec, sequences) <= MOST_EXTENT &&
    device.hasKernel(variantOf(spec).kernel)
  )
}

/** Bytes of the tiles that `selectTiles` makes. */
export function selectTileBytes({ kvHeads }: AttentionSpec, { blocks, sequences }: SelectCall['sequences']): number {
  return kvHeads * rowTiles(blocks, sequences, TILE) * TILE * ROW_BYTES
}

/**
 * Lays the representatives out as tiles of f16, then chooses with tensor cores.
 * @param call paged: representatives in f16, and blocks numbered by `sequences.blockStarts`
 * @throws OutOfMemoryError where there is no room for the tiles
 */
export function selectTiles(device: KernelDevice, memory: KernelMemory, spec: AttentionSpec, call: SelectCall): void {
  const { sequences, rules, q, reps, selected } = call
  const { kernel, operands, groupBytes, blockBytes, groups, capacity } = variantOf(spec)
  const count = rowTiles(sequences.blocks, sequences.sequences, TILE)
  const sharedBytes =
    groups * (operands * ROWS * ROW_BYTES + capacity * ENTRY_BYTES + groupBytes) + STAGES * (TILE * ROW_BYTES + BARRIER_BYTES) + blockBytes
  memory.scratch(selectTileBytes(spec, sequences), ({ address: tiles }) => {
    device.launch({
      kernel: sequences.keyStarts === 0n ? 'select_tiles_paged_sm90' : 'select_tiles_sm90',
      grid: [count, spec.kvHeads, 1],
      block: TILE_THREADS,
      params: packParams(SelectTilesParams, { reps, tiles, sequences, rules }),
    })
    device.launch({
      kernel,
      grid: [spec.kvHeads, queryTiles(spec, sequences), 1],
      block: (groups + 1) * WARPGROUP,
      sharedBytes,
      params: packParams(SelectTensorParams, { q, tiles, selected, sequences, rules }),
    })
  })
}

/** Thread blocks that cover the queries of a KV head. */
function queryTiles(spec: AttentionSpec, { queryTokens, sequences }: SelectCall['sequences']): number {
  const { groups, queries } = variantOf(spec)
  return rowTiles(queryTokens, sequences, groups * queries)
}

function variantOf({ heads, kvHeads, topK, score }: AttentionSpec): Variant {
  const group = heads / kvHeads
  const few = topK <= MOST_BY_MAXIMA
  // One head's softmax ranks as its logits do.
  if (score === 'logit' || group === 1) return { kernel: few ? 'select_logit_sm90' : 'select_logit_many_sm90', ...SUMMED }
  if (few && group === 2) return { kernel: 'select_softmax_sm90_g2', ...PAIRED }
  return { kernel: few ? 'select_softmax_sm90' : 'select_softmax_many_sm90', ...STREAMED }
}
