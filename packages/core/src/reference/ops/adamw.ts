import type { AdamwOptions } from '../../contract/model-ops.js'
import type { Reals } from '../host-layout.js'

/** Host form of `AdamwParameter`, all of one length. */
export interface AdamwArrays {
  /** The parameter in its widest form: the master copy where there is one. */
  readonly value: Reals
  readonly gradient: Reals
  readonly mean: Reals
  readonly variance: Reals
  readonly weightDecay: number
}

/** What changes from step to step: host form of `control` and `norm` of `adamw`. */
export interface AdamwControl {
  readonly learningRate: number
  /** 1 - beta1^t and 1 - beta2^t */
  readonly meanCorrection: number
  readonly varianceCorrection: number
  /** Clip scale of the gradient. */
  readonly scale: number
}

/** One AdamW step of one parameter with decoupled weight decay: the new value and moments, unrounded. */
export function adamw(
  { value, gradient, mean, variance, weightDecay }: AdamwArrays,
  { learningRate, meanCorrection, varianceCorrection, scale }: AdamwControl,
  { beta1, beta2, epsilon }: AdamwOptions,
): { value: Float64Array; mean: Float64Array; variance: Float64Array } {
  const newMean = Float64Array.from(mean, (old, index) => beta1 * old + (1 - beta1) * gradient[index] * scale)
  const newVariance = Float64Array.from(variance, (old, index) => beta2 * old + (1 - beta2) * (gradient[index] * scale) ** 2)
  const newValue = Float64Array.from(value, (old, index) => {
    const step = newMean[index] / meanCorrection / (Math.sqrt(newVariance[index] / varianceCorrection) + epsilon)
    return old - learningRate * (step + weightDecay * old)
  })
  return { value: newValue, mean: newMean, variance: newVariance }
}
