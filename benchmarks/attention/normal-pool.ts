import { RandomStream } from '@phsa/core'
import { roundToBfloat16 } from './round-to-bfloat16.js'

/** Values that are drawn; arrays are longer than that and repeat pieces of them. */
const DRAWN = 2 ** 21
/** Values from one place of the pool. Longer pieces copy faster; at this length copying takes no longer than reading. */
const PIECE = 2048

/**
 * Standard normal numbers as bf16 holds them, by the billion: a few million are drawn, arrays are filled with pieces from random places of
 * them. One pool is for one tensor: queries that were copied from where keys come from would find themselves again.
 */
export class NormalPool {
  readonly #values: Float32Array

  constructor(seed: number, drawn = DRAWN) {
    const random = new RandomStream(seed)
    const values = new Float32Array(drawn)
    for (let index = 0; index < drawn; index += 2) {
      // Box and Muller's method gives two at once.
      const radius = Math.sqrt(-2 * Math.log(1 - random.uniform()))
      const angle = 2 * Math.PI * random.uniform()
      values[index] = radius * Math.cos(angle)
      values[index + 1] = radius * Math.sin(angle)
    }
    this.#values = roundToBfloat16(values)
  }

  /** New values; the seed decides them. */
  take(count: number, seed: number): Float32Array {
    return this.fill(new Float32Array(count), seed)
  }

  /** The same in an array that is there: the system takes longer to give gigabytes of new memory than the values take to copy. */
  fill(target: Float32Array, seed: number): Float32Array {
    const random = new RandomStream(seed)
    for (let start = 0; start < target.length; start += PIECE) {
      const from = random.below(this.#values.length - PIECE)
      target.set(this.#values.subarray(from, from + Math.min(PIECE, target.length - start)), start)
    }
    return target
  }
}
