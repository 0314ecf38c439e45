import type { PunctuationTable, Tensor } from '@phsa/core'
import type { PagedDecoder } from '@phsa/model'
import { type StepTensors, uploadStep } from './compute-step.js'
import { type StepArrays, type StepShape, stepArrays } from './step-arrays.js'
import type { NextInput, StepInput } from './step-input.js'

/** What a step reads, on the host. */
interface InputArrays extends StepArrays {
  /** i32 [S]: row of each sequence that is drawn from; -1 for none. */
  readonly rows: Int32Array
  /** f32 [S, 5], see `ModelOps.sample`. */
  readonly control: Float32Array
}

/** Numbers a row of `control`. */
const CONTROLS = 5

/**
 * Tensors of a step of decoding that stay in place from step to step, and what they hold: only what changes is written, which of most tensors nothing does.
 * A table of pages has tens of thousands of entries, so it is not gone through: pages of a sequence are only ever added, to the same list.
 */
export class DecodeInputs {
  readonly tensors: StepTensors
  readonly #decoder: PagedDecoder
  readonly #shape: StepShape
  readonly #punctuation: PunctuationTable | undefined
  readonly #arrays: InputArrays
  readonly #targets: Readonly<Record<keyof InputArrays, Tensor>>
  readonly #changed = new Set<keyof InputArrays>()
  /** By row: the pages that were written, and how many of them. */
  readonly #pages: (readonly number[] | undefined)[] = []
  readonly #pageCounts: number[] = []
  #used = 0

  constructor(decoder: PagedDecoder, shape: StepShape, punctuation: PunctuationTable | undefined) {
    this.#decoder = decoder
    this.#shape = shape
    this.#punctuation = punctuation
    const rows = new Int32Array(shape.sequences).fill(-1)
    const control = new Float32Array(shape.sequences * CONTROLS)
    this.#arrays = { ...stepArrays([], shape, undefined), rows, control }
    this.tensors = uploadStep(decoder, shape, this.#arrays, this.#arrays)
    const { batch, ids, positions, marks } = this.tensors
    const { queryStarts, keyLengths, pageTable, topK, denseBelow } = batch
    const draws = { rows: this.tensors.rows, control: this.tensors.control }
    this.#targets = { ids, positions, marks, queryStarts, keyLengths, pageTable, topK, denseBelow, ...draws }
  }

  /** Whether all sequences have room for another key. */
  get hasRoomForNext(): boolean {
    const { keyLengths } = this.#arrays
    const most = this.tensors.batch.maxKeys
    for (let row = 0; row < this.#used; row++) if (keyLengths[row] >= most) return false
    return true
  }

  /** @param inputs of a token each */
  write(inputs: readonly StepInput[]): void {
    for (const [row, { ids, start, pages, topK, denseBelow, draw }] of inputs.entries()) {
      this.#put('ids', row, ids[0])
      this.#put('positions', row, start)
      this.#put('queryStarts', row + 1, row + 1)
      this.#put('keyLengths', row, start + 1)
      this.#put('topK', row, topK)
      this.#put('denseBelow', row, denseBelow)
      this.#put('rows', row, draw ? row : -1)
      this.#putControl(row, draw?.control)
      this.#putPages(row, pages)
    }
    for (let row = inputs.length; row < this.#shape.sequences; row++) this.#clear(row, inputs.length)
    this.#used = inputs.length
    const marks = this.#punctuation?.marks(this.#arrays.ids.subarray(0, inputs.length)) ?? new Uint8Array(inputs.length)
    for (const [row, mark] of marks.entries()) this.#put('marks', row, mark)
    // The step before has put its tokens there.
    this.#changed.add('ids').add('marks')
    this.#send()
  }

  /** The same sequences one position further; their ids and marks are on the device. */
  advance(inputs: readonly NextInput[]): void {
    for (const [row, { pages, draw }] of inputs.entries()) {
      this.#put('positions', row, this.#arrays.positions[row] + 1)
      this.#put('keyLengths', row, this.#arrays.keyLengths[row] + 1)
      this.#putControl(row, draw.control)
      this.#putPages(row, pages)
    }
    this.#send()
  }

  dispose(): void {
    for (const tensor of Object.values(this.#targets)) tensor.dispose()
  }

  #clear(row: number, used: number): void {
    this.#put('ids', row, -1)
    this.#put('positions', row, 0)
    this.#put('marks', row, 0)
    this.#put('queryStarts', row + 1, used)
    this.#put('keyLengths', row, 0)
    this.#put('topK', row, 0)
    this.#put('denseBelow', row, 0)
    this.#put('rows', row, -1)
    this.#putControl(row, undefined)
    this.#putPages(row, undefined)
  }

  #put(name: keyof InputArrays, index: number, value: number): void {
    const array = this.#arrays[name]
    const before = array[index]
    array[index] = value
    if (array[index] !== before) this.#changed.add(name)
  }

  #putControl(row: number, control: readonly number[] | undefined): void {
    for (let index = 0; index < CONTROLS; index++) this.#put('control', row * CONTROLS + index, control ? control[index] : 0)
  }

  #putPages(row: number, pages: readonly number[] | undefined): void {
    const { pagesPerSequence } = this.#shape
    const isSame = this.#pages[row] === pages
    const before = this.#pageCounts[row] ?? 0
    const count = Math.min(pages?.length ?? 0, pagesPerSequence)
    if (isSame && before === count) return
    const first = row * pagesPerSequence
    for (let page = isSame ? before : 0; page < count; page++) this.#arrays.pageTable[first + page] = pages![page]
    this.#arrays.pageTable.fill(-1, first + count, first + Math.max(count, before))
    this.#changed.add('pageTable')
    this.#pages[row] = pages
    this.#pageCounts[row] = count
  }

  #send(): void {
    const { memory } = this.#decoder.model.backend
    for (const name of this.#changed) memory.write(this.#targets[name], this.#arrays[name])
    this.#changed.clear()
  }
}
