import type { Reals } from '../host-layout.js'

/** x / sqrt(mean(x^2) + epsilon) * weight for each row of `weight.length` elements. */
export function rmsNorm(x: Reals, weight: Reals, epsilon: number): Float64Array {
  const width = weight.length
  const y = new Float64Array(x.length)
  for (let start = 0; start < x.length; start += width) {
    const inverse = inverseRms(x, start, width, epsilon)
    for (let index = 0; index < width; index++) y[start + index] = x[start + index] * inverse * weight[index]
  }
  return y
}

/** Gradients of `rmsNorm`: dx like x, dWeight [E]. */
export function rmsNormBackward(dy: Reals, x: Reals, weight: Reals, epsilon: number): { dx: Float64Array; dWeight: Float64Array } {
  const width = weight.length
  const dx = new Float64Array(x.length)
  const dWeight = new Float64Array(width)
  for (let start = 0; start < x.length; start += width) {
    const inverse = inverseRms(x, start, width, epsilon)
    let projection = 0
    for (let index = 0; index < width; index++) {
      const normed = x[start + index] * inverse
      dWeight[index] += dy[start + index] * normed
      projection += (dy[start + index] * weight[index] * normed) / width
    }
    for (let index = 0; index < width; index++) {
      const normed = x[start + index] * inverse
      dx[start + index] = inverse * (dy[start + index] * weight[index] - normed * projection)
    }
  }
  return { dx, dWeight }
}

function inverseRms(x: Reals, start: number, width: number, epsilon: number): number {
  let squares = 0
  for (let index = start; index < start + width; index++) squares += x[index] * x[index]
  return 1 / Math.sqrt(squares / width + epsilon)
}
