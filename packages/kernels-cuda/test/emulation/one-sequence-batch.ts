import type { Memory, PagedBatch } from '@phsa/core'

/** Pages of a cache with one sequence. */
export interface SequencePages {
  readonly pages: number
  readonly pageTokens: number
  readonly topK: number
  /** Distance of its pages, without a common factor with `pages`: they lie in no order. */
  readonly stride: number
}

/** One sequence that has `first` keys and brings `count`. */
export function oneSequenceBatch(
  memory: Memory,
  { pages, pageTokens, topK, stride }: SequencePages,
  first: number,
  count: number,
): PagedBatch {
  const integers = (...values: number[]) => memory.upload(Int32Array.from(values), [values.length])
  const table = Int32Array.from({ length: pages }, (_, page) => (page * stride) % pages)
  return {
    sequences: 1,
    queryTokens: count,
    maxQueries: count,
    maxKeys: pages * pageTokens,
    maxTopK: topK,
    queryStarts: integers(0, count),
    keyLengths: integers(first + count),
    pageTable: memory.upload(table, [1, pages]),
    topK: integers(topK),
    denseBelow: integers(0),
  }
}
