import { InvalidConfigError, type PunctuationTable } from '@phsa/core'
import { type TrainingBatch, tokenBatch } from '@phsa/model'
import type { PackedRow } from './training-data.js'

/**
 * Rows as one packed batch. The loss is the mean over all predicted tokens, weighted where the rows say so.
 * @param total what the weights are divided by, default the sum over these rows: `targetWeight` of all rows of a step whose micro-batches
 * shall add up to its mean
 */
export function trainingBatch(rows: readonly PackedRow[], punctuation?: PunctuationTable, total = targetWeight(rows)): TrainingBatch {
  const batch = tokenBatch(
    rows.flatMap((row) => row.sequences),
    punctuation,
  )
  // Each token's successor; where that is of another sequence, or none, the weight is 0.
  const targets = new Int32Array(batch.ids.length)
  targets.set(batch.ids.subarray(1))
  const weights = new Float32Array(batch.ids.length)
  let start = 0
  for (const { length, counts } of countedSequences(rows)) {
    // Where nothing counts the loss is 0, not the quotient of two zeros.
    for (let place = 0; place + 1 < length; place++) weights[start + place] = total === 0 ? 0 : (counts?.[place + 1] ?? 1) / total
    start += length
  }
  return { ...batch, targets, weights }
}

/**
 * What all predicted tokens of the rows count together: their number where the rows have no weights. The first token of a sequence is predicted by none.
 * @throws InvalidConfigError for weights of another length than their sequence
 */
export function targetWeight(rows: readonly PackedRow[]): number {
  let sum = 0
  for (const { length, counts } of countedSequences(rows)) {
    for (let place = 1; place < length; place++) sum += counts?.[place] ?? 1
  }
  return sum
}

function countedSequences(rows: readonly PackedRow[]): { length: number; counts: Float32Array | undefined }[] {
  return rows.flatMap(({ sequences, targetWeights }) =>
    sequences.map(({ length }, index) => {
      const counts = targetWeights?.[index]
      if (targetWeights && counts?.length !== length) {
        throw new InvalidConfigError(
          'targetWeights',
          `sequence ${index} has ${counts?.length ?? 'no'} target weights for ${length} tokens; give one a token.`,
        )
      }
      return { length, counts }
    }),
  )
}
