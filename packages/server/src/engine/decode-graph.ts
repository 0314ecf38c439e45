import { type CapturedStep, type HostArray, isPhsaError, type ModelBackend, type Tensor } from '@phsa/core'
import type { PagedDecoder } from '@phsa/model'
import { computeStep, type StepResult, type StepTensors, uploadStep } from './compute-step.js'
import type { StepArrays, StepShape } from './step-arrays.js'

/** What a step reads, on the host. */
export interface GraphInput extends StepArrays {
  /** i32 [S]: row of each sequence that is drawn from; -1 for none. */
  readonly rows: Int32Array
  /** f32 [S, 5], see `ModelOps.sample`. */
  readonly control: Float32Array
}

/**
 * Steps of one shape whose tensors stay in place, so that a backend records the second and replays it from then on. The first has compiled everything,
 * and many shapes have no second. Writes only what changed: of most tensors nothing does from token to token.
 */
export class DecodeGraph {
  readonly #decoder: PagedDecoder
  readonly #tensors: StepTensors
  #written: GraphInput
  #runs = 0
  #result: StepResult | undefined
  #captured: CapturedStep<StepResult> | undefined
  #hasRoom = true

  constructor(decoder: PagedDecoder, shape: StepShape, first: GraphInput) {
    this.#decoder = decoder
    this.#tensors = uploadStep(decoder, shape, first, first)
    this.#written = first
  }

  /** What the step gives; overwritten by the next run. */
  async run(input: GraphInput): Promise<StepResult> {
    const { backend } = this.#decoder.model
    this.#write(input)
    if (this.#runs++ === 1 && backend.capture && this.#hasRoom) await this.#record(backend.capture.bind(backend))
    if (this.#captured) {
      this.#captured.replay()
      return this.#captured.result
    }
    this.#freeResult()
    this.#result = computeStep(this.#decoder, this.#tensors)
    return this.#result
  }

  dispose(): void {
    this.#captured?.dispose()
    this.#freeResult()
    const { batch, ids, positions, marks, rows, control } = this.#tensors
    const { queryStarts, keyLengths, pageTable, topK, denseBelow } = batch
    for (const tensor of [ids, positions, marks, rows, control, queryStarts, keyLengths, pageTable, topK, denseBelow]) tensor.dispose()
  }

  async #record(capture: NonNullable<ModelBackend['capture']>): Promise<void> {
    try {
      this.#captured = await capture(() => computeStep(this.#decoder, this.#tensors))
    } catch (error) {
      if (!isPhsaError(error, 'out-of-memory')) throw error
      // The step alone has room, as it had before.
      this.#hasRoom = false
    }
  }

  #freeResult(): void {
    if (!this.#result) return
    for (const tensor of [this.#result.hidden, this.#result.logits, this.#result.drawn]) tensor?.dispose()
    this.#result = undefined
  }

  #write(input: GraphInput): void {
    const { batch, ...own } = this.#tensors
    const { ids, positions, marks, rows, control } = own
    const { queryStarts, keyLengths, pageTable, topK, denseBelow } = batch
    const targets = { ids, positions, marks, rows, control, queryStarts, keyLengths, pageTable, topK, denseBelow }
    for (const name of Object.keys(targets) as (keyof GraphInput)[]) this.#writeChanged(targets[name], input[name], this.#written[name])
    this.#written = input
  }

  #writeChanged(tensor: Tensor, values: HostArray, before: HostArray): void {
    if (!bytesOf(values).equals(bytesOf(before))) this.#decoder.model.backend.memory.write(tensor, values)
  }
}

/** As one block: tables of pages have tens of thousands of entries, and comparing them one by one takes longer than anything else between two steps. */
function bytesOf({ buffer, byteOffset, byteLength }: HostArray): Buffer {
  return Buffer.from(buffer, byteOffset, byteLength)
}
