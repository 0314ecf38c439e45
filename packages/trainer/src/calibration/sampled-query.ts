import type { PackedLayout } from '@phsa/core'

/** Where a sampled query stands in a packed batch. */
export interface SampledQuery {
  /** Position in its sequence. */
  readonly position: number
  /** First key row of its sequence. */
  readonly firstKey: number
  /** First block of its sequence, among those of the batch. */
  readonly firstBlock: number
}

/** The places of query rows of a batch in which every token is a query. @param rows `[n]` */
export function sampledQueries(packed: PackedLayout, rows: Int32Array): SampledQuery[] {
  return Array.from(rows, (row) => {
    const sequence = packed.keyStarts.findIndex((start, index) => start <= row && row < packed.keyStarts[index + 1])
    const firstKey = packed.keyStarts[sequence]
    return { position: row - firstKey, firstKey, firstBlock: packed.blockStarts[sequence] }
  })
}
