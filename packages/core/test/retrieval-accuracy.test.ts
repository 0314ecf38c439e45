import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { InvalidConfigError, type RetrievalTrial, retrievalAccuracy } from '../src/index.js'

const trials = (length: number, depth: number, found: number, missed: number): RetrievalTrial[] =>
  Array.from({ length: found + missed }, (_, index) => ({ length, depth, found: index < found }))

describe('retrievalAccuracy', () => {
  test('one cell for each length and depth, by length, then depth', () => {
    const { cells, overall } = retrievalAccuracy([...trials(8192, 0, 1, 1), ...trials(4096, 0.5, 2, 0), ...trials(4096, 0, 3, 1)])
    expect(cells.map(({ length, depth, trials, accuracy, informationLoss }) => [length, depth, trials, accuracy, informationLoss])).toEqual(
      [
        [4096, 0, 4, 75, 25],
        [4096, 0.5, 2, 100, 0],
        [8192, 0, 2, 50, 50],
      ],
    )
    expect(overall).toMatchObject({ trials: 8, accuracy: 75, informationLoss: 25 })
  })

  // Wilson score intervals at 95 %, as in statistics tables.
  test.each([
    [9, 1, 59.58, 98.21],
    [10, 0, 72.25, 100],
    [0, 10, 0, 27.75],
    [50, 50, 40.38, 59.62],
  ])('%d found and %d missed lie between %d and %d percent', (found, missed, low, high) => {
    const { interval } = retrievalAccuracy(trials(1024, 0, found, missed)).overall
    expect(interval[0]).toBeCloseTo(low, 2)
    expect(interval[1]).toBeCloseTo(high, 2)
  })

  test('the interval holds the accuracy and narrows with more trials', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 30 }), fc.integer({ min: 1, max: 30 }), (found, missed) => {
        const { accuracy, interval } = retrievalAccuracy(trials(1, 0, found, missed)).overall
        expect(interval[0]).toBeLessThanOrEqual(accuracy + 1e-9)
        expect(interval[1]).toBeGreaterThanOrEqual(accuracy - 1e-9)
        const finer = retrievalAccuracy(trials(1, 0, 4 * found, 4 * missed)).overall.interval
        expect(finer[1] - finer[0]).toBeLessThan(interval[1] - interval[0])
      }),
    )
  })

  test('no trials are an error', () => {
    expect(() => retrievalAccuracy([])).toThrow(InvalidConfigError)
  })
})
