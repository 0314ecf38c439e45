import { type AdamwOptions, type AdamwParameter, checkAdamw, checkGradientNorm, type ModelOps } from '@phsa/core'
import type { TfjsMemory } from '../memory/tfjs-memory.js'

/**
 * Gradient norm and AdamW. On the host: one fused pass a parameter, sums in float64, and the moments never leave it; as many elementwise
 * engine ops as this needs cost more.
 */
export function optimizerOps(memory: TfjsMemory): Pick<ModelOps, 'gradientNorm' | 'adamw'> {
  const { owner } = memory
  return {
    gradientNorm(gradients, maxNorm) {
      memory.checkOpen()
      checkGradientNorm(owner, gradients)
      return memory.run(() => {
        let squares = 0
        for (const gradient of gradients) squares += sumOfSquares(memory.host(gradient))
        const norm = Math.sqrt(squares)
        const scale = !Number.isFinite(norm) ? 0 : norm <= maxNorm ? 1 : maxNorm / norm
        return memory.fromHost(Float32Array.of(norm, scale), [2])
      })
    },

    adamw(parameters, control, norm, options) {
      memory.checkOpen()
      checkAdamw(owner, parameters, control, norm)
      memory.run(() => {
        const scale = memory.host(norm)[1]
        if (scale === 0) return
        const [learningRate, meanCorrection, varianceCorrection] = memory.host(control)
        const step = { scale, learningRate, meanCorrection, varianceCorrection }
        for (const parameter of parameters) stepParameter(memory, parameter, step, options)
      })
    },
  }
}

interface Step {
  readonly scale: number
  readonly learningRate: number
  readonly meanCorrection: number
  readonly varianceCorrection: number
}

function stepParameter(memory: TfjsMemory, { master, weightDecay, ...parameter }: AdamwParameter, step: Step, options: AdamwOptions): void {
  // A master copy of an f32 value is the value itself; both are kept equal.
  const value = memory.writable(master ?? parameter.value)
  const arrays = {
    value,
    mean: memory.writable(parameter.mean),
    variance: memory.writable(parameter.variance),
    gradient: memory.host(parameter.gradient),
  }
  stepElements(arrays, weightDecay, step, options)
  if (master) memory.writable(parameter.value).set(value)
}

interface ParameterArrays {
  readonly value: Float32Array
  readonly mean: Float32Array
  readonly variance: Float32Array
  readonly gradient: Float32Array
}

/** Nothing but the loop: V8 gives up what it has optimised within a loop when code follows that has not run yet. */
function stepElements(
  { value, mean, variance, gradient }: ParameterArrays,
  weightDecay: number,
  { scale, learningRate, meanCorrection, varianceCorrection }: Step,
  { beta1, beta2, epsilon }: AdamwOptions,
): void {
  const decay = 1 - learningRate * weightDecay
  const rate = learningRate / meanCorrection
  const varianceFactor = 1 / varianceCorrection
  for (let index = 0; index < value.length; index++) {
    const slope = gradient[index] * scale
    const newMean = beta1 * mean[index] + (1 - beta1) * slope
    const newVariance = beta2 * variance[index] + (1 - beta2) * slope * slope
    mean[index] = newMean
    variance[index] = newVariance
    value[index] = value[index] * decay - (rate * newMean) / (Math.sqrt(newVariance * varianceFactor) + epsilon)
  }
}

function sumOfSquares(values: Float32Array): number {
  let squares = 0
  for (let index = 0; index < values.length; index++) squares += values[index] * values[index]
  return squares
}
