import { expect, test } from 'vitest'
import { clusterEstimate } from '../../src/evaluation/cluster-estimate.js'

test('the mean of a quotient of sums, with the interval of Student', () => {
  // Means 1, 2 and 3 of equal clusters: standard error 1 / sqrt(3), quantile of 2 degrees 4.3027.
  const { mean, interval } = clusterEstimate([1, 2, 3].map((value) => ({ sum: 5 * value, count: 5 })))
  expect(mean).toBeCloseTo(2, 12)
  expect(interval![1] - 2).toBeCloseTo(4.3027 / Math.sqrt(3), 4)
  expect(2 - interval![0]).toBeCloseTo(4.3027 / Math.sqrt(3), 4)
})

test.each([
  [11, 2.201],
  [20, 2.086],
  [100, 1.984],
])('beyond the table the quantile of %d degrees is %d', (freedom, quantile) => {
  const clusters = Array.from({ length: freedom + 1 }, (_, index) => ({ sum: index, count: 1 }))
  const deviation = Math.sqrt(clusters.reduce((sum, { sum: value }) => sum + (value - freedom / 2) ** 2, 0) / freedom)
  const half = clusterEstimate(clusters).interval![1] - freedom / 2
  expect((half * Math.sqrt(freedom + 1)) / deviation).toBeCloseTo(quantile, 3)
})

test('one cluster has no interval, and those without a value count nothing', () => {
  expect(
    clusterEstimate([
      { sum: 3, count: 2 },
      { sum: 0, count: 0 },
    ]),
  ).toEqual({ mean: 1.5 })
})
