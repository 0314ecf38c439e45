import { InvalidConfigError, type Tensor } from '@phsa/core'
import { DecoderModel } from '@phsa/model'
import { requireRange } from '../number-settings.js'

/** An exponential moving average of the weights beside those that are trained. */
export interface WeightAverageOptions {
  /** Part of the average that each step keeps, below 1: 0.999 averages over about 1,000 steps. */
  readonly decay: number
  /** Whether validation is measured with the averaged weights; default false. */
  readonly validate?: boolean
}

/**
 * The exponential moving average of a model's weights, in f32 on the device. It starts from the weights as they are; a skipped step leaves it alone.
 *
 * An update is the first moment of an AdamW step of rate 0 whose gradient is the weight: an op that every backend has, and can record. What that step
 * would change besides is made and freed with it, a parameter at a time.
 */
export class WeightAverage {
  /** By the parameters' names; f32, f64 in an f64 model. */
  readonly tensors: ReadonlyMap<string, Tensor>
  readonly #model: DecoderModel
  readonly #sources: ReadonlyMap<string, Tensor>
  readonly #decay: number
  /** f32 [3] as of `adamw`: rate 0, no correction of the moments. */
  readonly #control: Tensor

  /**
   * Outside of memory scopes.
   * @param sources the parameters at their finest: f32 copies of 16-bit ones
   */
  constructor(model: DecoderModel, sources: ReadonlyMap<string, Tensor>, decay: number) {
    const { memory } = model.backend
    this.#model = model
    this.#sources = sources
    // So that what is kept and what is added sum to 1 on devices that compute in f32.
    this.#decay = Math.fround(decay)
    this.#control = memory.upload(Float32Array.of(0, 1, 1), [3])
    this.tensors = new Map([...sources].map(([name, { shape, dtype }]) => [name, memory.alloc(shape, dtype)]))
    this.restart()
  }

  /** Begins anew from the weights as they are. */
  restart(): void {
    for (const [name, average] of this.tensors) this.#model.backend.memory.copy(this.#sources.get(name)!, average)
  }

  /**
   * Takes the weights after a step into the average; inside of a memory scope.
   * @param norm f32 [2] of the step; one that is not finite marks a skipped step
   */
  update(norm: Tensor): void {
    const { memory, ops } = this.#model.backend
    // Zeros, or NaN: the scale is then 1, or 0 and nothing changes.
    const marks = ops.linear(memory.reshape(norm, [2, 1]), memory.alloc([1, 1], norm.dtype))
    const scale = ops.gradientNorm([marks], 1)
    const options = { beta1: this.#decay, beta2: 0, epsilon: 1 }
    for (const [name, mean] of this.tensors) {
      const gradient = this.#sources.get(name)!
      memory.scope(() => {
        const unused = { value: memory.alloc(mean.shape, mean.dtype), variance: memory.alloc(mean.shape, mean.dtype) }
        ops.adamw([{ ...unused, gradient, mean, weightDecay: 0 }], this.#control, scale, options)
      })
    }
  }

  /** A model of the averaged weights, in the trained one's element type, as of now: an f32 one shares them. The caller disposes it; outside of memory scopes. */
  model(): DecoderModel {
    const { backend, config, phsa, dtype, recompute } = this.#model
    const { memory } = backend
    const parameters = new Map<string, Tensor>()
    try {
      for (const [name, average] of this.tensors) {
        const shared = average.dtype === dtype
        const tensor = shared ? memory.reshape(average, average.shape) : memory.alloc(average.shape, dtype)
        parameters.set(name, tensor)
        if (!shared) memory.copy(average, tensor)
      }
      return new DecoderModel({ config, backend, phsa, dtype, recompute }, parameters)
    } catch (error) {
      for (const tensor of parameters.values()) tensor.dispose()
      throw error
    }
  }

  dispose(): void {
    for (const tensor of [...this.tensors.values(), this.#control]) tensor.dispose()
  }
}

/**
 * @param isValidated whether the run has validation at all
 * @throws InvalidConfigError naming the setting
 */
export function requireWeightAverage(
  { decay, validate = false }: WeightAverageOptions,
  isValidated: boolean,
): Required<WeightAverageOptions> {
  // Above it, f32 has no number left below 1.
  requireRange('ema.decay', decay, 0, 1 - 2 ** -20)
  if (validate && !isValidated) {
    throw new InvalidConfigError(
      'ema.validate',
      'ema.validate asks for validation with the averaged weights, but there is no validation; set validation, or leave ema.validate out.',
    )
  }
  return { decay, validate }
}
