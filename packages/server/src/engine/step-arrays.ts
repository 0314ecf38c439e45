import type { PunctuationTable } from '@phsa/core'

/** New tokens of one sequence in a step. */
export interface StepTokens {
  readonly ids: Int32Array
  /** Position of the first of them. */
  readonly start: number
  /** Pages of the sequence in order, at least those of its keys. */
  readonly pages: readonly number[]
  /** Blocks that each of its queries chooses. */
  readonly topK: number
  /** Its queries at positions below attend densely; `DENSE_THROUGHOUT` makes it dense. */
  readonly denseBelow: number
}

/** A `denseBelow` beyond any position, which makes a sequence dense beside sparse ones (spec 6). */
export const DENSE_THROUGHOUT = 2 ** 30

/** Capacities of a step's tensors; see `PagedBatch`. */
export interface StepShape {
  readonly sequences: number
  readonly queryTokens: number
  readonly maxQueries: number
  readonly pagesPerSequence: number
  readonly maxTopK: number
}

/** What a step's tensors hold, as in `PagedStep` and `PagedBatch`. */
export interface StepArrays {
  readonly ids: Int32Array
  readonly positions: Int32Array
  readonly marks: Float32Array
  readonly queryStarts: Int32Array
  readonly keyLengths: Int32Array
  readonly pageTable: Int32Array
  readonly topK: Int32Array
  readonly denseBelow: Int32Array
}

/** Lays the tokens of sequences one after another; what is left of the shape belongs to no sequence. */
export function stepArrays(sequences: readonly StepTokens[], shape: StepShape, punctuation: PunctuationTable | undefined): StepArrays {
  const { queryTokens, pagesPerSequence } = shape
  const arrays = {
    ids: new Int32Array(queryTokens).fill(-1),
    positions: new Int32Array(queryTokens),
    marks: new Float32Array(queryTokens),
    queryStarts: new Int32Array(shape.sequences + 1),
    keyLengths: new Int32Array(shape.sequences),
    pageTable: new Int32Array(shape.sequences * pagesPerSequence).fill(-1),
    topK: new Int32Array(shape.sequences),
    denseBelow: new Int32Array(shape.sequences),
  }
  let row = 0
  for (const [index, { ids, start, pages, topK, denseBelow }] of sequences.entries()) {
    arrays.ids.set(ids, row)
    if (punctuation) arrays.marks.set(punctuation.marks(ids), row)
    for (let token = 0; token < ids.length; token++) arrays.positions[row + token] = start + token
    row += ids.length
    arrays.queryStarts[index + 1] = row
    arrays.keyLengths[index] = start + ids.length
    arrays.pageTable.set(pages.slice(0, pagesPerSequence), index * pagesPerSequence)
    arrays.topK[index] = topK
    arrays.denseBelow[index] = denseBelow
  }
  arrays.queryStarts.fill(row, sequences.length + 1)
  return arrays
}
