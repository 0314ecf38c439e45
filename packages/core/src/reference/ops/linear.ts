import { dot } from '../dot.js'
import type { Reals } from '../host-layout.js'

/** Extents of y = x Wt: x [T, I], weight [O, I], y [T, O]. */
export interface LinearExtents {
  readonly inputs: number
  readonly outputs: number
}

/** y = x Wt: [T, O]. */
export function linear(x: Reals, weight: Reals, { inputs, outputs }: LinearExtents): Float64Array {
  const rows = inputs === 0 ? 0 : x.length / inputs
  const y = new Float64Array(rows * outputs)
  for (let row = 0; row < rows; row++) {
    for (let output = 0; output < outputs; output++) y[row * outputs + output] = dot(x, row * inputs, weight, output * inputs, inputs)
  }
  return y
}

/** Gradients of `linear`: dx = dy W [T, I], dWeight = dyt x [O, I]. */
export function linearBackward(
  dy: Reals,
  x: Reals,
  weight: Reals,
  { inputs, outputs }: LinearExtents,
): { dx: Float64Array; dWeight: Float64Array } {
  const dx = new Float64Array(x.length)
  const dWeight = new Float64Array(weight.length)
  for (let row = 0; row < dy.length / outputs; row++) {
    for (let output = 0; output < outputs; output++) {
      const gradient = dy[row * outputs + output]
      for (let input = 0; input < inputs; input++) {
        dx[row * inputs + input] += gradient * weight[output * inputs + input]
        dWeight[output * inputs + input] += gradient * x[row * inputs + input]
      }
    }
  }
  return { dx, dWeight }
}
