import type { PunctuationTable } from '@phsa/core'
import type { TrainingBatch } from '@phsa/model'
import { trainingBatch } from '../training-batch.js'
import type { TrainingData } from '../training-data.js'

/** How many windows of text to hold out, and how long each is. */
export interface HeldOutOptions {
  /** Windows taken, each a batch of its own. */
  readonly windows: number
  /** Tokens a window. */
  readonly tokens: number
  readonly punctuation?: PunctuationTable
  /** Decides which windows are taken; default 0. */
  readonly seed?: number
}

/** Windows of held-out text for `evaluateSelections` and validation: the first rows of the data's order. */
export function heldOutBatches(data: TrainingData, { windows, tokens, punctuation, seed = 0 }: HeldOutOptions): TrainingBatch[] {
  const rows = data.rows({ sequenceTokens: tokens, seed })
  return Array.from({ length: windows }, (_, index) => trainingBatch([rows.row(index)], punctuation))
}
