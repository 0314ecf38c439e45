import { expect, test } from 'vitest'
import { trainingBatch } from '../src/training-batch.js'

const ids = (...values: number[]) => Int32Array.from(values)

test('packs the sequences of all rows; the weights are those of the targets and sum to 1', () => {
  const batch = trainingBatch([
    { sequences: [ids(1, 2, 3), ids(4)], targetWeights: [Float32Array.of(9, 5, 1), Float32Array.of(9)] },
    { sequences: [ids(5, 6, 7, 8)] },
  ])
  expect(batch.lengths).toEqual([3, 1, 4])
  expect([...batch.ids]).toEqual([1, 2, 3, 4, 5, 6, 7, 8])
  // Tokens that predict: 1 -> 2 with 5, 2 -> 3 with 1, and three of weight 1 in the row without weights.
  const expected = [5, 1, 0, 0, 1, 1, 1, 0].map((weight) => weight / 9)
  for (const [token, weight] of expected.entries()) expect(batch.weights[token]).toBeCloseTo(weight, 6)
  expect([1, 2, 5, 6, 7].map((_, index) => batch.targets[[0, 1, 4, 5, 6][index]])).toEqual([2, 3, 6, 7, 8])
})

test('without weights the loss is the plain mean', () => {
  expect([...trainingBatch([{ sequences: [ids(1, 2, 3)] }]).weights]).toEqual([0.5, 0.5, 0])
})

test('refuses weights that do not fit', () => {
  const row = { sequences: [ids(1, 2, 3)], targetWeights: [Float32Array.of(1, 1)] }
  expect(() => trainingBatch([row])).toThrow('2 target weights for 3 tokens')
})
