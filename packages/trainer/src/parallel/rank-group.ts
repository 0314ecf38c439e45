import type { Collective, Memory, ModelBackend } from '@phsa/core'

/**
 * The ranks that train together, one process and GPU each, and what their hosts tell each other. A backend without a `collective` is a group of one, in
 * which nothing is sent. Every rank makes the same calls in the same order.
 */
export class RankGroup {
  readonly rank: number
  readonly size: number
  readonly #memory: Memory
  readonly #collective: Collective | undefined

  constructor({ collective, memory }: Pick<ModelBackend, 'collective' | 'memory'>) {
    this.rank = collective?.rank ?? 0
    this.size = collective?.size ?? 1
    this.#memory = memory
    this.#collective = this.size > 1 ? collective : undefined
  }

  get isAlone(): boolean {
    return this.size === 1
  }

  /** Whether this rank writes files and says what happens. */
  get isFirst(): boolean {
    return this.rank === 0
  }

  /** What sums tensors over the ranks; undefined for a group of one. */
  get collective(): Collective | undefined {
    return this.#collective
  }

  /** Which of `count` parts are this rank's: they are dealt out in turn, so that a part's rank depends on nothing but its number. */
  own(count: number): number[] {
    return Array.from({ length: count }, (_, index) => index).filter((index) => index % this.size === this.rank)
  }

  /**
   * The numbers of every rank, by rank and bit for bit. Waits for all ranks.
   * @param values as many on every rank
   */
  async gather(values: readonly number[]): Promise<Float64Array[]> {
    if (!this.#collective) return [Float64Array.from(values)]
    // Bits in a place of its own plus zeros: a sum of integers changes none of them.
    const bits = new Int32Array(2 * values.length * this.size)
    bits.set(new Int32Array(Float64Array.from(values).buffer), 2 * values.length * this.rank)
    const tensor = this.#memory.upload(bits, [bits.length])
    try {
      this.#collective.allReduce([tensor]).wait()
      const told = await this.#memory.download(tensor)
      const all = new Float64Array(Int32Array.from(told).buffer)
      return Array.from({ length: this.size }, (_, rank) => all.slice(rank * values.length, (rank + 1) * values.length))
    } finally {
      tensor.dispose()
    }
  }

  /** Whether any rank says so: the same answer on all of them. Waits for all ranks. */
  async any(flag: boolean): Promise<boolean> {
    if (this.isAlone) return flag
    return (await this.gather([Number(flag)])).some(([told]) => told !== 0)
  }
}
