import { type CapturedStep, isPhsaError, type ModelBackend, type PunctuationTable, type Tensor } from '@phsa/core'
import type { PagedDecoder } from '@phsa/model'
import { computeStep, type StepResult } from './compute-step.js'
import { DecodeInputs } from './decode-inputs.js'
import type { StepShape } from './step-arrays.js'
import type { NextInput, StepInput } from './step-input.js'

/** Which tokens are punctuation, here and on the device. */
export interface PunctuationMarks {
  readonly table: PunctuationTable
  /** f32 [V, 1]: 1 for punctuation. */
  readonly rows: Tensor
}

/**
 * Steps of one shape whose tensors stay in place, so that a backend records the second and replays it from then on. The first has compiled everything,
 * and many shapes have no second. A step leaves its tokens where the next one reads them, which can be queued before they are known here.
 */
export class DecodeGraph {
  readonly #decoder: PagedDecoder
  readonly #inputs: DecodeInputs
  readonly #marks: PunctuationMarks | undefined
  #runs = 0
  #result: StepResult | undefined
  #captured: CapturedStep<StepResult> | undefined

  constructor(decoder: PagedDecoder, shape: StepShape, marks: PunctuationMarks | undefined) {
    this.#decoder = decoder
    this.#inputs = new DecodeInputs(decoder, shape, marks?.table)
    this.#marks = marks
  }

  /** Queues a step. @returns what it gives; overwritten by the next one */
  async run(inputs: readonly StepInput[]): Promise<StepResult> {
    const { backend } = this.#decoder.model
    this.#inputs.write(inputs)
    if (this.#runs++ === 1 && backend.capture) await this.#record(backend.capture.bind(backend))
    if (this.#captured) return replayed(this.#captured)
    this.#freeResult()
    this.#result = this.#compute()
    return this.#result
  }

  /** Queues the step after the last one: the same sequences, with the tokens that it draws. @returns as `run`; undefined where it cannot, see `canRunNext` */
  runNext(inputs: readonly NextInput[]): StepResult | undefined {
    if (!this.canRunNext || !this.#captured) return undefined
    this.#inputs.advance(inputs)
    return replayed(this.#captured)
  }

  /** Whether the step is recorded, and has room for another key of each sequence. */
  get canRunNext(): boolean {
    return this.#captured !== undefined && this.#inputs.hasRoomForNext
  }

  dispose(): void {
    this.#captured?.dispose()
    this.#freeResult()
    this.#inputs.dispose()
  }

  async #record(capture: NonNullable<ModelBackend['capture']>): Promise<void> {
    try {
      this.#captured = await capture(() => this.#compute())
    } catch (error) {
      // The step alone has room, as it had before.
      if (!isPhsaError(error, 'out-of-memory')) throw error
    }
  }

  #compute(): StepResult {
    const { memory, ops } = this.#decoder.model.backend
    const { tensors } = this.#inputs
    return memory.scope(() => {
      const result = computeStep(this.#decoder, tensors)
      memory.copy(result.drawn, tensors.ids)
      if (this.#marks) memory.copy(ops.embedding(this.#marks.rows, result.drawn), tensors.marks)
      return result
    })
  }

  #freeResult(): void {
    if (!this.#result) return
    for (const tensor of [this.#result.hidden, this.#result.logits, this.#result.drawn]) tensor?.dispose()
    this.#result = undefined
  }
}

function replayed(captured: CapturedStep<StepResult>): StepResult {
  captured.replay()
  return captured.result
}
