/** Scores that are in memory at once; they are 4 bytes each, and a softmax and its gradient hold about four such arrays. */
export const MOST_SCORES = 2 ** 22

/** Queries `first` to `end - 1` of a sequence, counted from its first query. */
export interface QueryChunk {
  readonly first: number
  readonly end: number
}

/**
 * Splits queries into chunks of at most `target`, and so that a chunk's scores stay bounded.
 * @param columns most keys that one query scores
 */
export function* queryChunks(first: number, end: number, target: number, group: number, columns: number): Generator<QueryChunk> {
  const size = Math.max(1, Math.min(target, Math.floor(MOST_SCORES / Math.max(1, group * columns))))
  for (let start = first; start < end; start += size) yield { first: start, end: Math.min(start + size, end) }
}
