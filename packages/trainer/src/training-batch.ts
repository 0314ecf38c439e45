import { InvalidConfigError, type PunctuationTable } from '@phsa/core'
import { nextTokenBatch, type TrainingBatch } from '@phsa/model'
import type { PackedRow } from './training-data.js'

/** The rows of one step as one packed batch; the loss is the mean over all predicted tokens, weighted where the rows say so. */
export function trainingBatch(rows: readonly PackedRow[], punctuation?: PunctuationTable): TrainingBatch {
  const batch = nextTokenBatch(
    rows.flatMap((row) => row.sequences),
    punctuation,
  )
  if (rows.every((row) => row.targetWeights === undefined)) return batch
  const counts = rows.flatMap((row) => row.targetWeights ?? row.sequences.map(({ length }) => new Float32Array(length).fill(1)))
  return { ...batch, weights: weightedMean(batch, counts) }
}

/** Weight [T] of each prediction: the count of its target over the sum of all. */
function weightedMean({ lengths, weights }: TrainingBatch, counts: readonly Float32Array[]): Float32Array {
  const result = new Float32Array(weights.length)
  let start = 0
  let sum = 0
  for (const [index, length] of lengths.entries()) {
    if (counts[index]?.length !== length) {
      throw new InvalidConfigError(
        'targetWeights',
        `sequence ${index} has ${counts[index]?.length ?? 'no'} target weights for ${length} tokens; give one a token.`,
      )
    }
    for (let place = 0; place + 1 < length; place++) {
      result[start + place] = counts[index][place + 1]
      sum += counts[index][place + 1]
    }
    start += length
  }
  // Where nothing counts the loss is 0, not the quotient of two zeros.
  return sum === 0 ? result : result.map((weight) => weight / sum)
}
