/** How the valid tokens of a padded batch [batch, length, ...] are packed one row after the other [T, ...], and put back. */
export class PaddedRows {
  /** Tokens of a padded row. */
  readonly length: number
  /** Valid tokens of each row, its first ones: [batch]. */
  readonly lengths: readonly number[]
  /** T. */
  readonly tokens: number

  constructor(length: number, lengths: readonly number[]) {
    this.length = length
    this.lengths = lengths
    this.tokens = lengths.reduce((sum, valid) => sum + valid, 0)
  }

  /**
   * The valid elements; the array itself where nothing is padding.
   * @param padded [batch, length, width]
   * @returns [T, width]
   */
  pack<A extends Float32Array | Uint8Array>(padded: A, width: number): A {
    if (!this.#isPadded) return padded
    const packed = padded.slice(0, this.tokens * width) as A
    this.#visit(width, (at, target, count) => packed.set(padded.subarray(at, at + count), target))
    return packed
  }

  /**
   * The reverse, with zeros for padding; the array itself where nothing is padding.
   * @param packed [T, width]
   * @returns [batch, length, width]
   */
  unpack(packed: Float32Array, width: number): Float32Array {
    if (!this.#isPadded) return packed
    const padded = new Float32Array(this.lengths.length * this.length * width)
    this.#visit(width, (at, source, count) => padded.set(packed.subarray(source, source + count), at))
    return padded
  }

  get #isPadded(): boolean {
    return this.tokens < this.lengths.length * this.length
  }

  #visit(width: number, copy: (padded: number, packed: number, count: number) => void): void {
    let token = 0
    for (const [row, valid] of this.lengths.entries()) {
      copy(row * this.length * width, token * width, valid * width)
      token += valid
    }
  }
}
