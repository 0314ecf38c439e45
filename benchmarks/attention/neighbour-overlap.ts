/** What is chosen, as `selectBlocks` returns it. */
export interface Choices {
  /** i32 [Hkv, T, topK], ascending, then -1. */
  readonly selected: ArrayLike<number>
  readonly kvHeads: number
  readonly length: number
  readonly topK: number
}

/** Every so many queries are looked at in a long sequence. */
const MOST_ROWS = 20_000

/**
 * Share of a query's blocks that the query before it chose too: mean over KV heads and queries.
 * @param from first position that counts: where there is little to choose from, neighbours agree because they must
 * @returns 0 to 1; undefined where no query counts
 */
export function neighbourOverlap({ selected, kvHeads, length, topK }: Choices, from: number): number | undefined {
  const step = Math.max(1, Math.floor((length - from) / MOST_ROWS))
  let rows = 0
  let shared = 0
  for (let kvHead = 0; kvHead < kvHeads; kvHead++) {
    for (let position = Math.max(1, from); position < length; position += step) {
      const start = (kvHead * length + position) * topK
      shared += sharedBlocks(selected, start - topK, start, topK)
      rows++
    }
  }
  return rows === 0 || topK === 0 ? undefined : shared / (rows * topK)
}

/** Both ascend, so one walk over them is enough. */
function sharedBlocks(selected: ArrayLike<number>, before: number, after: number, topK: number): number {
  let shared = 0
  let left = 0
  let right = 0
  while (left < topK && right < topK && selected[before + left] >= 0 && selected[after + right] >= 0) {
    const difference = selected[before + left] - selected[after + right]
    if (difference === 0) shared++
    if (difference <= 0) left++
    if (difference >= 0) right++
  }
  return shared
}
