import type { AttentionSpec } from '@phsa/core'
import { rowTiles } from './kernel-grid.js'
import type { KernelDevice, KernelMemory } from './kernel-host.js'
import { SelectTensorParams, SelectTilesParams } from './kernel-params.js'
import { packParams } from './param-layout.js'
import type { SelectCall } from './select.js'

/** Of select_blocks_sm90.cu: queries of a thread block and its threads, blocks of a tile, bytes of a row of either, and threads that make a tile. */
const QUERIES = 128
const THREADS = 384
const TILE = 128
const ROW_BYTES = 256
const TILE_THREADS = 256
/** Bytes of an entry of the lists of all queries, of the log-sum-exps of up to 16 streamed heads, and of a stage's barriers. */
const ENTRY_BYTES = 2048
const LIFT_BYTES = 8192
const BARRIER_BYTES = 16
/** Up to so many blocks to choose, maxima of columns give the thresholds. */
const MOST_BY_MAXIMA = 16
/** An entry has 16 bits for the block. */
const MOST_BLOCKS = 2 ** 16

/** A kernel of select_blocks_sm90.cu by its template's parameters: operands of queries, entries of a lane's list, stages of tiles. */
interface Variant {
  readonly kernel: string
  readonly heads: number
  readonly streams: boolean
  readonly capacity: number
  readonly stages: number
}

/** Whether select_blocks_sm90.cu takes this call: packed, bf16, headDim 128, one representative a block, and a GPU that has it. */
export function hasSelectTiles(device: KernelDevice, spec: AttentionSpec, { sequences }: SelectCall): boolean {
  return (
    spec.dtype === 'bf16' &&
    spec.headDim === 128 &&
    spec.representatives === 1 &&
    spec.score !== 'overlap' &&
    sequences.keyStarts !== 0n &&
    sequences.blocks > 0 &&
    sequences.blocks <= MOST_BLOCKS &&
    device.hasKernel(variantOf(spec).kernel)
  )
}

/** Rounds the representatives to f16 tiles, then chooses with tensor cores. */
export function selectTiles(device: KernelDevice, memory: KernelMemory, spec: AttentionSpec, call: SelectCall): void {
  const { sequences, rules, q, reps, selected } = call
  const { kernel, heads, streams, capacity, stages } = variantOf(spec)
  const count = rowTiles(sequences.blocks, sequences.sequences, TILE)
  const sharedBytes =
    heads * QUERIES * ROW_BYTES + capacity * ENTRY_BYTES + (streams ? LIFT_BYTES : 0) + stages * (TILE * ROW_BYTES + BARRIER_BYTES)
  memory.scratch(spec.kvHeads * count * TILE * ROW_BYTES, ({ address: tiles }) => {
    device.launch({
      kernel: 'select_tiles_sm90',
      grid: [count, spec.kvHeads, 1],
      block: TILE_THREADS,
      params: packParams(SelectTilesParams, { reps, tiles, sequences, rules }),
    })
    device.launch({
      kernel,
      grid: [spec.kvHeads, rowTiles(sequences.queryTokens, sequences.sequences, QUERIES), 1],
      block: THREADS,
      sharedBytes,
      params: packParams(SelectTensorParams, { q, tiles, selected, sequences, rules }),
    })
  })
}

function variantOf({ heads, kvHeads, topK, score }: AttentionSpec): Variant {
  const group = heads / kvHeads
  const few = topK <= MOST_BY_MAXIMA
  if (score === 'logit') {
    return { kernel: few ? 'select_logit_sm90' : 'select_logit_many_sm90', heads: 1, streams: false, capacity: 48, stages: 3 }
  }
  if (few && group === 1) return { kernel: 'select_softmax_sm90_g1', heads: 1, streams: false, capacity: 48, stages: 3 }
  if (few && group === 2) return { kernel: 'select_softmax_sm90_g2', heads: 2, streams: false, capacity: 48, stages: 2 }
  if (few && group === 4) return { kernel: 'select_softmax_sm90_g4', heads: 4, streams: false, capacity: 16, stages: 2 }
  return { kernel: few ? 'select_softmax_sm90' : 'select_softmax_many_sm90', heads: 2, streams: true, capacity: 40, stages: 2 }
}
