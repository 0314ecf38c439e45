import { type CapturedStep, isPhsaError, type SelectionPolicy, type Tensor } from '@phsa/core'
import { type AttentionChoice, type DecoderModel, type DistillationChoice, RewrittenTensors, type TrainingBatch } from '@phsa/model'
import type { Optimizer } from './optimizer.js'

/** Losses f32 [1] of one micro-batch: its part of the step's loss, and its distillation loss as it is. */
export interface MicroLosses {
  readonly loss: Tensor
  readonly distillationLoss: Tensor | undefined
}

/** What a step leaves on the device. */
export interface StepTensors {
  readonly losses: readonly MicroLosses[]
  /** f32 [2], from `gradientNorm`. */
  readonly norm: Tensor
}

/** The data of one step. */
export interface RecordableStep {
  readonly attention: AttentionChoice
  readonly batches: readonly TrainingBatch[]
  /** One a batch, where the step distils. */
  readonly distillations?: readonly DistillationChoice[]
}

/** These draw or number blocks on the host, in the middle of a step. */
const CHOOSE_ON_THE_HOST: readonly SelectionPolicy['name'][] = ['random', 'oracle']

/**
 * Records training steps where the backend can. The first step of a shape (lengths, attention, distillation rows) is not recorded: it compiles
 * everything, and in packed text most shapes come once. A recording keeps the memory of its step until `release`.
 */
export class StepRecorder {
  readonly #model: DecoderModel
  readonly #optimizer: Optimizer
  readonly #uploads: RewrittenTensors
  #policy: SelectionPolicy | undefined
  #shape = ''
  #captured: CapturedStep<StepTensors> | undefined
  #hasRoom = true

  /** Not inside of a memory scope. */
  constructor(model: DecoderModel, optimizer: Optimizer) {
    this.#model = model
    this.#optimizer = optimizer
    this.#uploads = new RewrittenTensors(model.backend.memory)
  }

  /** The recorded step with this data written to what it reads, for one replay; undefined where the step is to be run as it is. */
  async prepare({ attention, batches, distillations }: RecordableStep): Promise<CapturedStep<StepTensors> | undefined> {
    const { backend } = this.#model
    if (!backend.capture || !this.#hasRoom || CHOOSE_ON_THE_HOST.includes(attention.policy.name)) return undefined
    const shape = JSON.stringify([
      // A learned lambda changes in place.
      attention.lambda ? { ...attention.phsa, lambda: 'learned' } : attention.phsa,
      batches.map(({ lengths }) => lengths),
      distillations?.map(({ rows, coefficient }) => [rows.length, coefficient]),
    ])
    const isKnown = shape === this.#shape && attention.policy === this.#policy
    if (!isKnown) this.release()
    this.#shape = shape
    this.#policy = attention.policy
    if (!isKnown) return undefined
    try {
      this.#uploads.rewind()
      const tensors = batches.map((batch, index) => this.#model.uploadTraining(batch, attention, distillations?.[index], this.#uploads))
      this.#captured ??= await backend.capture(() => {
        this.#optimizer.zeroGradients()
        const losses = tensors.map((each) =>
          backend.memory.scope((): MicroLosses => {
            const { loss, distillationLoss } = this.#model.train(each, this.#optimizer.gradients)
            return { loss, distillationLoss }
          }),
        )
        return { losses, norm: this.#optimizer.apply(scalarsOf(losses)) }
      })
    } catch (error) {
      if (!isPhsaError(error, 'out-of-memory')) throw error
      // The step alone has room, as it had before.
      this.#hasRoom = false
      this.release()
    }
    return this.#captured
  }

  /** Frees the recording and its memory; the next step of its shape is recorded anew. */
  release(): void {
    this.#captured?.dispose()
    this.#captured = undefined
    this.#uploads.dispose()
  }
}

/** All scalars of a step's losses. */
export function scalarsOf(losses: readonly MicroLosses[]): Tensor[] {
  return losses.flatMap(({ loss, distillationLoss }) => (distillationLoss ? [loss, distillationLoss] : [loss]))
}
