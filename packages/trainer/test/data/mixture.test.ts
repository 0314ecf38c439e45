import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { type MixturePart, mixtureOf } from '../../src/data/mixture.js'
import { TextDataset } from '../../src/data/text-dataset.js'
import type { TrainingData } from '../../src/training-data.js'

/** Rows that say which set they are of and which row they are: [set, index, seed]. */
function numberedData(set: number): TrainingData {
  return {
    fingerprint: `set ${set}`,
    largestId: set,
    rows: ({ seed }) => ({ row: (index) => ({ sequences: [Int32Array.of(set, index, seed | 0)] }) }),
  }
}

function mixture(weights: readonly number[]) {
  return mixtureOf(weights.map((weight, set) => ({ data: numberedData(set), weight, name: `set ${set}` })))
}

const mixtures = fc.record({
  weights: fc.array(fc.oneof(fc.integer({ min: 1, max: 9 }), fc.double({ min: 1e-3, max: 50, noNaN: true })), {
    minLength: 1,
    maxLength: 7,
  }),
  seed: fc.integer({ min: 0, max: 2 ** 31 }),
})

test('each set gives its rows in order, none twice and none left out', () => {
  fc.assert(
    fc.property(mixtures, ({ weights, seed }) => {
      const rows = mixture(weights).rows({ sequenceTokens: 3, seed })
      const next = weights.map(() => 0)
      for (let index = 0; index < 300; index++) {
        const [set, place] = rows.row(index).sequences[0]
        expect(place).toBe(next[set]++)
      }
      expect(rows.shares(300).map(({ rows: count }) => count)).toEqual(next)
    }),
    { numRuns: 60 },
  )
})

test('after any number of rows each set has given its share, to within a few rows', () => {
  fc.assert(
    fc.property(mixtures, fc.bigInt({ min: 0n, max: 2n ** 45n }), ({ weights, seed }, count) => {
      const rows = mixture(weights).rows({ sequenceTokens: 3, seed })
      const total = weights.reduce((sum, weight) => sum + weight, 0)
      const shares = rows.shares(Number(count))
      expect(shares.reduce((sum, { rows: given }) => sum + given, 0)).toBe(Number(count))
      for (const [set, { rows: given }] of shares.entries()) {
        // The expected number itself is rounded at so many rows.
        const expected = (Number(count) * weights[set]) / total
        expect(Math.abs(given - expected)).toBeLessThan(3 + Number(count) * 2 ** -49)
      }
    }),
    { numRuns: 200 },
  )
})

test('a stream that is entered in its middle goes on as the unbroken one', () => {
  fc.assert(
    fc.property(mixtures, fc.nat({ max: 200 }), ({ weights, seed }, start) => {
      const whole = mixture(weights).rows({ sequenceTokens: 3, seed })
      const unbroken = Array.from({ length: start + 50 }, (_, index) => [...whole.row(index).sequences[0]])
      const resumed = mixture(weights).rows({ sequenceTokens: 3, seed })
      expect(Array.from({ length: 50 }, (_, index) => [...resumed.row(start + index).sequences[0]])).toEqual(unbroken.slice(start))
    }),
    { numRuns: 40 },
  )
})

test('real data comes whole: each token of each set once in each of its epochs', () => {
  const documents = [[1, 2, 3], [4, 5, 6, 7], [8]]
  const parts: MixturePart[] = [
    { name: 'books', weight: 3, data: new TextDataset(documents, 0) },
    { name: 'letters', weight: 1, data: new TextDataset([[21, 22, 23, 24, 25]], 20) },
  ]
  const data = mixtureOf(parts)
  const rows = data.rows({ sequenceTokens: 4, seed: 5 })
  // Thirty epochs of the books' eleven tokens and twenty of the letters' six are whole rows.
  const counts = new Map<number, number>()
  let [books, letters] = [0, 0]
  for (let index = 0; books < 33 || letters < 12; index++) {
    const row = rows.row(index)
    const isBook = row.sequences[0][0] < 20
    if (isBook ? books >= 33 : letters >= 12) continue
    if (isBook) books++
    else letters++
    for (const token of row.sequences.flatMap((sequence) => [...sequence])) counts.set(token, (counts.get(token) ?? 0) + 1)
  }
  for (const token of documents.flat()) expect(counts.get(token)).toBe(12)
  for (const token of [20, 21, 22, 23, 24, 25]) expect(counts.get(token)).toBe(8)
  expect(data.largestId).toBe(25)
})

test('sets, weights and names make the fingerprint; the seed makes the order, and another one for each set', () => {
  const fingerprints = [mixture([1, 2]), mixture([2, 1]), mixture([1, 2, 3])].map(({ fingerprint }) => fingerprint)
  expect(new Set(fingerprints).size).toBe(3)
  const order = (seed: number) =>
    Array.from({ length: 40 }, (_, index) => mixture([1, 1.7]).rows({ sequenceTokens: 3, seed }).sourceOf(index).part)
  expect(order(1)).toEqual(order(1))
  expect(order(1)).not.toEqual(order(2))
  const rows = mixture([1, 1]).rows({ sequenceTokens: 3, seed: 4 })
  expect(new Set([0, 1].map((index) => rows.row(index).sequences[0][2])).size).toBe(2)
})

test('says no to mixtures that are none', () => {
  expect(() => mixtureOf([])).toThrow('no part')
  for (const weight of [0, -1, Number.NaN, Number.POSITIVE_INFINITY, 1e-7]) expect(() => mixture([1, weight])).toThrow('weight of set 1')
  const part = { data: numberedData(0), weight: 1, name: 'twin' }
  expect(() => mixtureOf([part, part])).toThrow('two parts are called twin')
})
