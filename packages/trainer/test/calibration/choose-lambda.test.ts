import fc from 'fast-check'
import { expect, test } from 'vitest'
import { chooseLambda, lambdaGain } from '../../src/calibration/choose-lambda.js'

const samples = () =>
  fc.tuple(fc.integer({ min: 1, max: 12 }), fc.integer({ min: 1, max: 6 })).chain(([windows, candidates]) =>
    fc.record({
      sums: fc.array(fc.array(fc.double({ min: 0, max: 8, noNaN: true }), { minLength: candidates, maxLength: candidates }), {
        minLength: windows,
        maxLength: windows,
      }),
      counts: fc.array(fc.integer({ min: 1, max: 8 }), { minLength: windows, maxLength: windows }),
      before: fc.integer({ min: 0, max: candidates - 1 }),
    }),
  )

const total = (sums: readonly (readonly number[])[], candidate: number) => sums.reduce((sum, window) => sum + window[candidate], 0)

test('what is chosen was never worse, and changes only for a gain above its interval', () => {
  fc.assert(
    fc.property(samples(), ({ before, ...drawn }) => {
      const { candidate } = chooseLambda(drawn, before)
      expect(total(drawn.sums, candidate)).toBeGreaterThanOrEqual(total(drawn.sums, before))
      if (candidate !== before) expect(lambdaGain(drawn, candidate, before).interval![0]).toBeGreaterThan(0)
    }),
  )
})

test('a candidate that gains the same in every window wins; where all are alike nothing changes', () => {
  fc.assert(
    fc.property(samples(), fc.double({ min: 0.001, max: 1, noNaN: true }), ({ sums, counts, before }, gain) => {
      fc.pre(counts.length >= 2)
      const alike = sums.map((window) => window.map(() => window[0]))
      expect(chooseLambda({ sums: alike, counts }, before).candidate).toBe(before)
      const better = alike.map((window, index) => [...window, window[0] + gain * counts[index]])
      expect(chooseLambda({ sums: better, counts }, before).candidate).toBe(better[0].length - 1)
    }),
  )
})

test('the order of the windows is of no matter', () => {
  fc.assert(
    fc.property(samples(), ({ sums, counts, before }) => {
      const [one, other] = [
        lambdaGain({ sums, counts }, 0, before),
        lambdaGain({ sums: sums.toReversed(), counts: counts.toReversed() }, 0, before),
      ]
      expect(one.mean).toBeCloseTo(other.mean, 8)
      expect(one.interval?.[0] ?? 0).toBeCloseTo(other.interval?.[0] ?? 0, 6)
    }),
  )
})

test('one window proves nothing, and a difference that changes its sign neither', () => {
  expect(chooseLambda({ sums: [[1, 2]], counts: [4] }, 0)).toEqual({ candidate: 0, gain: { mean: 0.25 } })
  const uneven = {
    sums: [
      [1, 3],
      [2, 1],
      [1, 3],
      [3, 2],
    ],
    counts: [4, 4, 4, 4],
  }
  expect(chooseLambda(uneven, 0).candidate).toBe(0)
})
