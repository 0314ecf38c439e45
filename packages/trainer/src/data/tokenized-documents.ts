/** Tokenized documents one after the other, each ending with its separator. */
export interface TokenizedDocuments {
  /** First token of each document, and the total at the end: length documents + 1. */
  readonly starts: ArrayLike<number>
  /** Token ids from a place on, all of one document. */
  read(start: number, count: number): Int32Array
}
