import { RandomStream } from '../../src/index.js'

/** Gradient of a function by central differences, one element at a time. */
export function numericalGradient(at: Float64Array, evaluate: (values: Float64Array) => number, step = 1e-5): Float64Array {
  return at.map((value, index) => {
    const moved = at.slice()
    moved[index] = value + step
    const above = evaluate(moved)
    moved[index] = value - step
    return (above - evaluate(moved)) / (2 * step)
  })
}

/** Standard normal numbers, the same for the same seed. */
export function normals(count: number, seed: number): Float64Array {
  const random = new RandomStream(seed)
  return Float64Array.from({ length: count }, () => random.normal())
}

/** Inner product: turns an array of outputs into a scalar whose gradient by the outputs is `weights`. */
export function inner(values: ArrayLike<number>, weights: ArrayLike<number>): number {
  let sum = 0
  for (let index = 0; index < weights.length; index++) sum += values[index] * weights[index]
  return sum
}
