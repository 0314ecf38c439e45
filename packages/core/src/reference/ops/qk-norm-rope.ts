import { ShapeError } from '../../errors/shape-error.js'
import type { Reals } from '../host-layout.js'
import { rmsNorm, rmsNormBackward } from './rms-norm.js'

/** Host form of `QkNormRopeInput`, with its extents. */
export interface QkNormRopeArrays {
  /** [T, H, D] */
  readonly x: Reals
  /** [D] */
  readonly weight: Reals
  /** [T] */
  readonly positions: Int32Array
  /** [P, D / 2] */
  readonly cos: Reals
  readonly sin: Reals
  readonly epsilon: number
}

/** RMS norm over each head, then rotation of the halves (i, i + D/2): [T, H, D]. */
export function qkNormRope(input: QkNormRopeArrays): Float64Array {
  return rotate(rmsNorm(input.x, input.weight, input.epsilon), input, 1)
}

/** Gradients of `qkNormRope`: dx [T, H, D], dWeight [D]. */
export function qkNormRopeBackward(dy: Reals, input: QkNormRopeArrays): { dx: Float64Array; dWeight: Float64Array } {
  // A rotation's transpose is the rotation by the opposite angle.
  return rmsNormBackward(rotate(dy, input, -1), input.x, input.weight, input.epsilon)
}

function rotate(x: Reals, { positions, cos, sin, weight }: QkNormRopeArrays, direction: 1 | -1): Float64Array {
  const headDim = weight.length
  const half = headDim / 2
  const heads = positions.length === 0 ? 0 : x.length / positions.length / headDim
  const rotated = new Float64Array(x.length)
  for (const [token, position] of positions.entries()) {
    if (position < 0 || position >= cos.length / half) {
      throw new ShapeError(`positions[${token}] is ${position}; the rotary table has positions 0 to ${cos.length / half - 1}.`)
    }
    for (let head = 0; head < heads; head++) {
      const start = (token * heads + head) * headDim
      for (let index = 0; index < half; index++) {
        const cosine = cos[position * half + index]
        const sine = direction * sin[position * half + index]
        const first = x[start + index]
        const second = x[start + index + half]
        rotated[start + index] = first * cosine - second * sine
        rotated[start + index + half] = second * cosine + first * sine
      }
    }
  }
  return rotated
}
