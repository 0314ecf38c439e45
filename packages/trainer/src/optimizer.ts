import type { AdamwParameter, Tensor } from '@phsa/core'
import type { DecoderModel } from '@phsa/model'
import { LearnedLambda } from './step/learned-lambda.js'
import { WeightAverage } from './step/weight-average.js'
import type { TrainerPlan } from './trainer-options.js'

/** What a run keeps besides the parameters' moments, by option. */
export interface OptimizerParts {
  readonly learnsLambda?: boolean
  /** Decay of the average of the weights, where there is one. */
  readonly averageDecay?: number
}

/**
 * AdamW over a model's parameters: owns the gradients, the moments, and f32 copies of 16-bit parameters, whose small updates would round away; by option
 * a lambda that is learned and an average of the weights.
 * Made outside of memory scopes; `dispose` frees all of it and leaves the model alone.
 */
export class Optimizer {
  readonly gradients: ReadonlyMap<string, Tensor>
  readonly lambda: LearnedLambda | undefined
  readonly average: WeightAverage | undefined
  readonly #model: DecoderModel
  readonly #settings: TrainerPlan['optimizer']
  readonly #parameters: ReadonlyMap<string, AdamwParameter>
  /** f32 [3]: learning rate, 1 - beta1^t, 1 - beta2^t. */
  readonly #control: Tensor

  constructor(model: DecoderModel, settings: TrainerPlan['optimizer'], { learnsLambda, averageDecay }: OptimizerParts = {}) {
    const { memory } = model.backend
    this.#model = model
    this.#settings = settings
    // First: it refuses a lambda that does not fit the model.
    this.lambda = learnsLambda ? new LearnedLambda(model) : undefined
    this.gradients = model.allocGradients()
    this.#control = memory.alloc([3], 'f32')
    const parameters = new Map<string, AdamwParameter>()
    for (const [name, value] of model.parameters) {
      const { shape, dtype } = value
      const state = { mean: memory.alloc(shape, 'f32'), variance: memory.alloc(shape, 'f32') }
      const master = dtype === 'bf16' || dtype === 'f16' ? { master: memory.alloc(shape, 'f32') } : {}
      // Vectors are norm weights: decaying them would shrink the signal, not the model.
      const weightDecay = shape.length > 1 ? settings.weightDecay : 0
      parameters.set(name, { value, gradient: this.gradients.get(name)!, ...state, ...master, weightDecay })
    }
    this.#parameters = parameters
    this.syncMasters()
    const finest = new Map([...parameters].map(([name, { master, value }]) => [name, master ?? value]))
    this.average = averageDecay === undefined ? undefined : new WeightAverage(model, finest, averageDecay)
  }

  /** Takes the f32 copies from the parameters as they are now. */
  syncMasters(): void {
    for (const { value, master } of this.#parameters.values()) if (master) this.#model.backend.memory.copy(value, master)
  }

  zeroGradients(): void {
    for (const gradient of this.gradients.values()) this.#model.backend.memory.zero(gradient)
    this.lambda?.zeroGradients()
  }

  /**
   * Says what the next `apply` steps with.
   * @param count steps taken, skipped ones left out and this one included
   */
  schedule(learningRate: number, count: number): void {
    const { beta1, beta2 } = this.#settings
    this.#model.backend.memory.write(this.#control, Float32Array.of(learningRate, 1 - beta1 ** count, 1 - beta2 ** count))
  }

  /**
   * One step from the gradients as they stand; where their norm or a loss is not finite nothing changes. Inside of a memory scope.
   * @param losses scalars [1] that must be finite
   * @returns f32 [2] from `gradientNorm`; its first value is not finite where nothing changed
   */
  apply(losses: readonly Tensor[]): Tensor {
    const { ops } = this.#model.backend
    const { beta1, beta2, epsilon, maxNorm } = this.#settings
    const norm = ops.gradientNorm([...this.gradients.values(), ...losses.map((loss) => this.#guard(loss))], maxNorm)
    ops.adamw([...this.#parameters.values()], this.#control, norm, { beta1, beta2, epsilon })
    this.average?.update(norm)
    return norm
  }

  /** A loss times 0: adds nothing to the norm, but is NaN where the loss is not finite. So the device decides, without a download. */
  #guard(loss: Tensor): Tensor {
    const { memory, ops } = this.#model.backend
    return ops.linear(memory.reshape(loss, [1, 1]), memory.alloc([1, 1], loss.dtype))
  }

  /** What a checkpoint keeps besides the parameters, by name: `NAME.mean`, `NAME.variance`, `NAME.master` of 16-bit ones, and `NAME.average` where there is an average. */
  get state(): ReadonlyMap<string, Tensor> {
    const state = new Map<string, Tensor>()
    for (const [name, { mean, variance, master }] of this.#parameters) {
      state.set(`${name}.mean`, mean).set(`${name}.variance`, variance)
      if (master) state.set(`${name}.master`, master)
    }
    for (const [name, average] of this.average?.tensors ?? []) state.set(`${name}.average`, average)
    return state
  }

  dispose(): void {
    for (const tensor of [...this.state.values(), ...this.gradients.values(), this.#control]) tensor.dispose()
    this.average?.dispose()
    this.lambda?.dispose()
  }
}
