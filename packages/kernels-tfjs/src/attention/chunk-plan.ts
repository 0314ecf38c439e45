import { type AttentionSpec, isDense } from '@phsa/core'
import * as tf from '@tensorflow/tfjs-core'
import { firstPosition, type KeySequence } from './key-sequence.js'
import { MOST_SCORES } from './query-chunks.js'
import { forEachVisibleRun, type SelectedBlocks } from './visible-keys.js'

/** How a chunk of queries is worked. */
export interface ChunkPlan {
  /** One past its last query. */
  readonly end: number
  /** Whether only its forced blocks are worked here, and the selected ones apart: block by block, with all queries that selected each. */
  readonly apart: boolean
}

// No powers of two: the wasm engine transposes matrices of so many rows three times as slowly.
const SMALLEST_CHUNK = 15
const LARGEST_CHUNK = 240

/** Nanoseconds on one core, per element of a gathered key and value: to gather them, and to pack them for a matrix product. */
const KEY_COST = 10.6
/** The same per row of queries: for its share of both products. */
const ROW_COST = 0.13
/** The same per row of queries and block worked apart: to gather the row, and to merge its result. */
const MERGE_COST = 4
/** Nanoseconds for the engine's calls of one chunk, whatever its size; libtensorflow starts threads for each. */
const CALL_COST = 1e5
const LIBTENSORFLOW_CALL_COST = 1e6

/**
 * The best plan for the chunk of queries that starts at `first`: to gather all that its queries see, which is shared well where neighbours
 * select alike; or selected blocks apart, whose cost does not depend on that.
 */
export function planChunk(sequence: KeySequence, first: number, spec: AttentionSpec, selected: SelectedBlocks, group: number): ChunkPlan {
  const together = bestChunk(sequence, first, spec, selected, group)
  if (selected.topK === 0) return { end: together.end, apart: false }
  const forced = bestChunk(sequence, first, spec, { ...selected, topK: 0 }, group)
  const apart = forced.cost + selectedCost(sequence, spec, selected.topK, group)
  return apart < together.cost ? { end: forced.end, apart: true } : { end: together.end, apart: false }
}

/** Of blocks worked apart, for each query and element of the head dimension. */
function selectedCost(sequence: KeySequence, { blockSize, headDim }: AttentionSpec, topK: number, group: number): number {
  // Of one block, were all blocks selected equally often.
  const queries = Math.max(1, (sequence.queries * topK * blockSize) / sequence.keys)
  return topK * (blockSize * (KEY_COST / queries + ROW_COST * group) + MERGE_COST * group + callCost() / headDim / queries)
}

/**
 * Where a chunk best ends, and its cost for each query and element of the head dimension. Every chunk gathers the union of what its queries
 * see: a large one shares that cost among more queries, a small one has a smaller union. So the cost is estimated for each size, with the true union.
 */
function bestChunk(
  sequence: KeySequence,
  first: number,
  spec: AttentionSpec,
  selected: SelectedBlocks,
  group: number,
): { readonly end: number; readonly cost: number } {
  const { blockSize, headDim } = spec
  const shift = firstPosition(sequence)
  const seen = new Uint8Array(Math.ceil(sequence.keys / blockSize))
  const limit = Math.min(first + LARGEST_CHUNK, sequence.queries)
  let blocks = 0
  let best = Math.min(first + SMALLEST_CHUNK, limit)
  let lowest = Number.POSITIVE_INFINITY
  let next = best
  for (let query = first; query < limit; query++) {
    if (isDense(spec)) blocks = Math.floor((shift + query) / blockSize) + 1
    else {
      forEachVisibleRun(sequence, query, spec, selected, (start, end) => {
        for (let block = start; block < end; block++) {
          blocks += 1 - seen[block]
          seen[block] = 1
        }
      })
    }
    if (query + 1 < next) continue
    const queries = query + 1 - first
    const columns = blocks * blockSize
    const most = Math.max(1, Math.floor(MOST_SCORES / (group * columns)))
    if (queries > most && lowest < Number.POSITIVE_INFINITY) break
    // Fewer queries than these see no more columns, so their scores are within the bound.
    const worked = Math.min(queries, most)
    const cost = columns * (KEY_COST / worked + ROW_COST * group) + callCost() / headDim / worked
    if (cost <= lowest) {
      lowest = cost
      best = first + worked
    }
    if (queries > most) break
    next = Math.min(first + 2 * queries, limit)
  }
  return { end: best, cost: lowest }
}

function callCost(): number {
  return tf.getBackend() === 'tensorflow' ? LIBTENSORFLOW_CALL_COST : CALL_COST
}
