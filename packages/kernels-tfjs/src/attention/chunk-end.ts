import { type AttentionSpec, isDense } from '@phsa/core'
import { firstPosition, type KeySequence } from './key-sequence.js'
import { MOST_SCORES } from './query-chunks.js'
import { forEachVisibleRun, type SelectedBlocks } from './visible-keys.js'

const SMALLEST_CHUNK = 16
const LARGEST_CHUNK = 256

/** Nanoseconds on one core with the wasm engine, per element of a gathered key and value: to gather them, and to pack them for a matrix product. */
const KEY_COST = 10.6
/** The same per row of queries: for its share of both products. */
const ROW_COST = 0.13

/**
 * Where the chunk of queries that starts at `first` best ends. Every chunk gathers the union of what its queries see: a large one shares
 * that cost among more queries, a small one has a smaller union. So the cost of a query is estimated for each size, with the true union.
 */
export function chunkEnd(sequence: KeySequence, first: number, spec: AttentionSpec, selected: SelectedBlocks, group: number): number {
  const { blockSize } = spec
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
    if (queries > SMALLEST_CHUNK && group * queries * columns > MOST_SCORES) return best
    const cost = columns * (KEY_COST / queries + ROW_COST * group)
    if (cost <= lowest) {
      lowest = cost
      best = query + 1
    }
    next = Math.min(first + 2 * queries, limit)
  }
  return best
}
