import { type HostArray, InvalidConfigError, InvalidFileError, layerLambda, type SparsitySchedule, type Tensor } from '@phsa/core'
import type { DecoderModel } from '@phsa/model'
import { requireRange } from '../number-settings.js'
import type { TrainerPlan } from '../trainer-options.js'

/** A lambda for each layer and KV head that the distillation loss teaches (spec 10). */
export interface LearnedLambdaOptions {
  /** Peak of its own rate, which follows the course of the main one; default 0.01. */
  readonly learningRate?: number
}

/** What a checkpoint keeps of a learned lambda; plain JSON, a row for each layer with a number for each KV head. */
export interface LambdaState {
  /** Steps that changed it. */
  readonly updates: number
  readonly values: readonly (readonly number[])[]
  /** First and second moment. */
  readonly mean: readonly (readonly number[])[]
  readonly variance: readonly (readonly number[])[]
}

/** The learned lambdas after a step, over all layers and KV heads. */
export interface LambdaSummary {
  readonly mean: number
  readonly min: number
  readonly max: number
}

/**
 * The lambdas of a model while they are learned. They are a few hundred numbers, so AdamW for them runs on the host, without decay, and each step is
 * projected back into 0 to 1. Made outside of memory scopes.
 */
export class LearnedLambda {
  /** f32 [Hkv] a layer: what the model attends with. */
  readonly tensors: readonly Tensor[]
  /** f32 [Hkv] a layer: the distillation loss's gradients, summed over micro-batches. */
  readonly gradients: readonly Tensor[]
  readonly #model: DecoderModel
  #state: LambdaState

  /** Starts from the lambda of the model's configuration. */
  constructor(model: DecoderModel) {
    const { layers, kvHeads } = model.config
    const { memory } = model.backend
    const values = Array.from({ length: layers }, (_, layer) => layerLambda(model.phsa, layer, kvHeads))
    const zeros = () => values.map(() => new Array<number>(kvHeads).fill(0))
    this.#model = model
    this.#state = { updates: 0, values: values.map((row) => Array.from(row)), mean: zeros(), variance: zeros() }
    this.tensors = values.map((row) => memory.upload(row, [kvHeads]))
    this.gradients = values.map(() => memory.alloc([kvHeads], 'f32'))
    // As after a restore: the configuration says the same of a run whether it was resumed or not.
    model.reconfigure({ lambda: this.#state.values })
  }

  get state(): LambdaState {
    return this.#state
  }

  get summary(): LambdaSummary {
    const all = this.#state.values.flat()
    return { mean: all.reduce((sum, value) => sum + value, 0) / all.length, min: Math.min(...all), max: Math.max(...all) }
  }

  zeroGradients(): void {
    for (const gradient of this.gradients) this.#model.backend.memory.zero(gradient)
  }

  /** One step from gradients on the host, one [Hkv] a layer, all finite. A head without a gradient so far, that of a dense layer, stays. */
  update(gradients: readonly HostArray[], learningRate: number, { beta1, beta2, epsilon }: TrainerPlan['optimizer']): void {
    const before = this.#state
    const updates = before.updates + 1
    const mean = before.mean.map((row, layer) => row.map((old, head) => beta1 * old + (1 - beta1) * gradients[layer][head]))
    const variance = before.variance.map((row, layer) => row.map((old, head) => beta2 * old + (1 - beta2) * gradients[layer][head] ** 2))
    const values = before.values.map((row, layer) =>
      row.map((old, head) => {
        const step = mean[layer][head] / (1 - beta1 ** updates) / (Math.sqrt(variance[layer][head] / (1 - beta2 ** updates)) + epsilon)
        // As the device holds it, so that a resumed run goes on from the same number.
        return Math.fround(Math.min(1, Math.max(0, old - learningRate * step)))
      }),
    )
    this.restore({ updates, values, mean, variance })
  }

  /** Takes a state in place of the present one, on the device and in the model's configuration too. @throws InvalidFileError for that of another model */
  restore(state: LambdaState): void {
    const { layers, kvHeads } = this.#model.config
    for (const rows of [state.values, state.mean, state.variance]) {
      if (rows?.length === layers && rows.every((row) => row.length === kvHeads)) continue
      throw new InvalidFileError(
        `the checkpoint's lambda is not one of ${layers} layers with ${kvHeads} KV heads; resume with the model that was trained.`,
      )
    }
    this.#state = state
    for (const [layer, row] of state.values.entries()) this.#model.backend.memory.write(this.tensors[layer], Float32Array.from(row))
    this.#model.reconfigure({ lambda: state.values })
  }

  dispose(): void {
    for (const tensor of [...this.tensors, ...this.gradients]) tensor.dispose()
  }
}

/** What decides whether a lambda can be learned. */
export interface LearnedLambdaSetting {
  readonly lambda: 'learned' | LearnedLambdaOptions
  readonly policy: string
  readonly hasPunctuation: boolean
  readonly coefficient: number
  readonly schedule: SparsitySchedule
}

/** @throws InvalidConfigError where nothing would teach it, or the policy sets it itself */
export function requireLearnedLambda(setting: LearnedLambdaSetting): Required<LearnedLambdaOptions> {
  const { lambda, policy, hasPunctuation, coefficient, schedule } = setting
  const refuse = (reason: string): never => {
    throw new InvalidConfigError('distillation.lambda', `distillation.lambda asks for a learned lambda, but ${reason}, or leave it out.`)
  }
  if (policy !== 'phsa') refuse(`policy ${policy} has none to learn; use policy phsa`)
  if (!hasPunctuation) refuse('no token is punctuation, so that its two branches are equal; give punctuation')
  if (coefficient === 0) refuse('distillation.coefficient is 0 and nothing else teaches it; set a coefficient above 0')
  if (!schedule.stages.some(({ kind, distillation }) => kind === 'sparse' && distillation)) {
    refuse('no sparse stage of the schedule distils and nothing else teaches it; set distillation in a sparse stage')
  }
  if (lambda !== 'learned' && (typeof lambda !== 'object' || lambda === null)) refuse(`it is ${JSON.stringify(lambda)}; write 'learned'`)
  const { learningRate = 0.01 } = lambda === 'learned' ? {} : lambda
  requireRange('distillation.lambda.learningRate', learningRate, Number.MIN_VALUE, 1)
  return { learningRate }
}
