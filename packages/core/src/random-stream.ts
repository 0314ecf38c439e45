/** Seeded random numbers (splitmix32): small, fast and the same everywhere. Its state is one integer, so that a checkpoint can hold it. */
export class RandomStream {
  #state: number

  constructor(seed: number) {
    this.#state = seed >>> 0
  }

  /** To save and restore: `new RandomStream(state)` continues. */
  get state(): number {
    return this.#state
  }

  /** Unsigned 32-bit integer. */
  integer(): number {
    this.#state = (this.#state + 0x9e3779b9) >>> 0
    let mixed = this.#state
    mixed = Math.imul(mixed ^ (mixed >>> 16), 0x21f0aaad)
    mixed = Math.imul(mixed ^ (mixed >>> 15), 0x735a2d97)
    return (mixed ^ (mixed >>> 15)) >>> 0
  }

  /** In [0, 1). */
  uniform(): number {
    return this.integer() / 2 ** 32
  }

  /** Integer in [0, limit). */
  below(limit: number): number {
    return Math.floor(this.uniform() * limit)
  }

  /** Standard normal (Box-Muller). */
  normal(): number {
    return Math.sqrt(-2 * Math.log(1 - this.uniform())) * Math.cos(2 * Math.PI * this.uniform())
  }
}
