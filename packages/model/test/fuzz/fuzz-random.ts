import { RandomStream } from '@phsa/core'

/** The random numbers of one input: they depend on its seed and its number alone, so that any input can be made again. */
export function randomOf(seed: number, index: number): RandomStream {
  // Odd, so that no two numbers below 2^32 share a stream.
  return new RandomStream(Math.imul(seed, 0x27d4eb2f) ^ Math.imul(index, 0x9e3779b1))
}

/** One of several. */
export function choice<T>(random: RandomStream, values: readonly T[]): T {
  return values[random.below(values.length)]
}
