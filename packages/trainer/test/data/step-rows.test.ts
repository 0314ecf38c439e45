import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { countRows, stepRows } from '../../src/data/step-rows.js'

const runs = fc
  .record({
    sequences: fc.integer({ min: 1, max: 4 }),
    tokens: fc.integer({ min: 3, max: 50 }),
    each: fc.integer({ min: 1, max: 3 }),
    ranks: fc.integer({ min: 1, max: 4 }),
    totalTokens: fc.integer({ min: 1, max: 2000 }),
  })
  .map(({ each, ranks, ...rest }) => ({ ...rest, ranks, accumulate: each * ranks }))

test('a run of so many tokens takes just the rows that hold them, each once and in order, as many micro-batches on each rank', () => {
  fc.assert(
    fc.property(runs, ({ sequences, tokens, accumulate, ranks, totalTokens }) => {
      const batch = { sequences, tokens, accumulate }
      const rows = countRows({ totalTokens }, batch, ranks)
      expect(rows * tokens).toBeGreaterThanOrEqual(totalTokens)
      expect((rows - ranks) * tokens).toBeLessThan(totalTokens)
      const steps = Math.ceil(totalTokens / (sequences * tokens * accumulate))
      let row = 0
      for (let step = 0; step < steps; step++) {
        const windows = stepRows(row, { batch, rows }, ranks)
        expect(windows.length % ranks).toBe(0)
        for (const window of windows) expect([window.length > 0, window.length <= sequences]).toEqual([true, true])
        expect(windows.flat()).toEqual(Array.from(windows.flat(), (_, index) => row + index))
        if (step < steps - 1) expect(windows.map(({ length }) => length)).toEqual(Array(accumulate).fill(sequences))
        row += windows.flat().length
      }
      expect(row).toBe(rows)
    }),
  )
})

test('a run that goes on with more ranks, at a row that they cannot share evenly, leaves none of them without one', () => {
  const batch = { sequences: 1, tokens: 8, accumulate: 4 }
  expect(stepRows(7, { batch, rows: 10 }, 2)).toEqual([[7], [8], [9], [10]])
  expect(stepRows(3, { batch, rows: 4 }, 2)).toEqual([[3], [4]])
})

test('a run of steps takes all rows of each', () => {
  const batch = { sequences: 2, tokens: 8, accumulate: 3 }
  const rows = countRows({ steps: 4 }, batch, 1)
  expect(rows).toBe(24)
  expect(stepRows(18, { batch, rows }, 1)).toEqual([
    [18, 19],
    [20, 21],
    [22, 23],
  ])
})
