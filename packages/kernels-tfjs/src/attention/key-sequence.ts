/** Where the keys of one sequence are, packed or in pages. Rows are rows of an array [rows, Hkv, D]. */
export interface KeySequence {
  /** First row of its queries in q. */
  readonly queryStart: number
  /** Its queries are its last tokens. */
  readonly queries: number
  readonly keys: number
  /** Queries at earlier positions attend densely. */
  readonly denseBelow: number
  /** Row of the key at a position; keys of one block lie one after the other. */
  rowOf(position: number): number
}

/** Keys and values [rows, Hkv, D]. Functions, because a view of the wasm heap is valid until the next TensorFlow.js call only. */
export interface KeyArrays {
  k(): Float32Array
  v(): Float32Array
}

/** Position of the first query. */
export function firstPosition(sequence: KeySequence): number {
  return sequence.keys - sequence.queries
}
