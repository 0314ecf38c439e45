import { ShapeError } from './errors/shape-error.js'

/** One key block of one sequence, in rows of k. */
export interface KeyBlock {
  /** Sequence it belongs to. */
  readonly sequence: number
  /** Index within the sequence. */
  readonly index: number
  /** Row of its first token. */
  readonly start: number
  /** Row after its last token. */
  readonly end: number
  /** Real tokens, 1 to the block size; 0 only for a sub-block past the end of a partial block. */
  readonly length: number
}

/**
 * Sequences packed one after the other, on the host (spec 1). Positions and blocks restart at each sequence.
 * Queries are the last tokens of their sequence; in training every token is a query.
 */
export class PackedLayout {
  /** Tokens of each sequence, [S]. */
  readonly keyLengths: readonly number[]
  /** Queries that each sequence brings, its last tokens, [S]. */
  readonly queryLengths: readonly number[]
  /** m. */
  readonly blockSize: number
  /** Row of each sequence's first key, and the total at the end: length S + 1. */
  readonly keyStarts: Int32Array
  /** Row of each sequence's first query, and the total at the end: length S + 1. */
  readonly queryStarts: Int32Array
  /** First block of each sequence, and the total at the end: length S + 1. */
  readonly blockStarts: Int32Array

  /** @throws ShapeError for lengths that are no non-negative integers, or more queries than keys in a sequence */
  constructor(keyLengths: readonly number[], blockSize: number, queryLengths: readonly number[] = keyLengths) {
    if (queryLengths.length !== keyLengths.length) {
      throw new ShapeError(`${keyLengths.length} key lengths but ${queryLengths.length} query lengths; give one of each a sequence.`)
    }
    if (!Number.isInteger(blockSize) || blockSize < 1) throw new ShapeError(`blockSize is ${blockSize}; it must be a positive integer.`)
    for (const [sequence, keys] of keyLengths.entries()) {
      const queries = queryLengths[sequence]
      if (!Number.isInteger(keys) || !Number.isInteger(queries) || queries < 0 || queries > keys) {
        throw new ShapeError(
          `sequence ${sequence} has ${queries} queries and ${keys} keys; lengths are integers with 0 <= queries <= keys.`,
        )
      }
    }
    this.keyLengths = [...keyLengths]
    this.queryLengths = [...queryLengths]
    this.blockSize = blockSize
    this.keyStarts = startsOf(keyLengths)
    this.queryStarts = startsOf(queryLengths)
    this.blockStarts = startsOf(keyLengths.map((length) => Math.ceil(length / blockSize)))
  }

  /** S. */
  get sequences(): number {
    return this.keyLengths.length
  }

  /** Rows of k. */
  get totalTokens(): number {
    return this.keyStarts[this.sequences]
  }

  /** Rows of q. */
  get totalQueries(): number {
    return this.queryStarts[this.sequences]
  }

  /** Blocks of all sequences; with representatives r the representatives tensor has r rows for each. */
  get totalBlocks(): number {
    return this.blockStarts[this.sequences]
  }

  /** Blocks of the longest sequence. */
  get maxBlocks(): number {
    return this.keyLengths.reduce((most, length) => Math.max(most, Math.ceil(length / this.blockSize)), 0)
  }

  /** Queries of the sequence that brings most. */
  get maxQueries(): number {
    return this.queryLengths.reduce((most, length) => Math.max(most, length), 0)
  }

  /** Position in its sequence of the first query of a sequence. */
  firstQueryPosition(sequence: number): number {
    return this.keyLengths[sequence] - this.queryLengths[sequence]
  }

  /** Position of each key row in its sequence: i32 [T]. */
  positions(): Int32Array {
    const positions = new Int32Array(this.totalTokens)
    for (let sequence = 0; sequence < this.sequences; sequence++) {
      const start = this.keyStarts[sequence]
      for (let row = start; row < this.keyStarts[sequence + 1]; row++) positions[row] = row - start
    }
    return positions
  }

  /** All blocks in order; with representatives r, all sub-blocks of blockSize / r tokens, r for every block. */
  *blocks(representatives = 1): Generator<KeyBlock> {
    if (this.blockSize % representatives !== 0) {
      throw new ShapeError(`representatives is ${representatives}; it must divide blockSize, which is ${this.blockSize}.`)
    }
    const size = this.blockSize / representatives
    for (let sequence = 0; sequence < this.sequences; sequence++) {
      const first = this.keyStarts[sequence]
      const last = this.keyStarts[sequence + 1]
      const count = (this.blockStarts[sequence + 1] - this.blockStarts[sequence]) * representatives
      for (let index = 0; index < count; index++) {
        const start = Math.min(first + index * size, last)
        const end = Math.min(start + size, last)
        yield { sequence, index, start, end, length: end - start }
      }
    }
  }
}

function startsOf(lengths: readonly number[]): Int32Array {
  const starts = new Int32Array(lengths.length + 1)
  for (const [index, length] of lengths.entries()) starts[index + 1] = starts[index] + length
  return starts
}
