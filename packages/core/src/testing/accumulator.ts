import type { DType, HostArray } from '../contract/tensor.js'
import { RandomStream } from '../random-stream.js'
import { normals } from './attention-inputs.js'
import { frobeniusNorm } from './relative-error.js'
import { rounded } from './rounded.js'

/** What a gradient tensor holds before a call adds to it, and what it must hold after. */
export interface Accumulator {
  readonly before: Float32Array
  readonly expected: Float64Array
}

/** Earlier content as large as the gradient itself: smaller could be lost unseen, larger would hide the gradient. */
export function accumulator(gradient: HostArray, dtype: DType, seed: number): Accumulator {
  const scale = frobeniusNorm(gradient) / Math.sqrt(Math.max(gradient.length, 1))
  const before = rounded(normals(new RandomStream(seed), gradient.length, scale === 0 ? 1 : scale), dtype)
  return { before, expected: Float64Array.from(gradient, (value, index) => value + before[index]) }
}
