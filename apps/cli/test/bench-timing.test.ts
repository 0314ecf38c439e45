import { describe, expect, test } from 'vitest'
import { isEnough, timeRuns, timingOf } from '../src/bench/timing.js'
import { Interruption } from '../src/interruption.js'
import { machineSlug } from '../src/machine.js'

const limits = { warmUp: 2, least: 3, most: 5, budget: 1, patience: 20 }

test('a timing keeps every run and sums them up so that one slow run does not decide', () => {
  expect(timingOf([3, 1, 2, 100], 1)).toEqual({ warmUp: 1, samples: [3, 1, 2, 100], median: 2.5, least: 1, most: 100, deviation: 1 })
})

describe('runs are enough', () => {
  test.each([
    ['never without one', [], false],
    ['not before the least number', [9, 9], false],
    ['at the least number once the budget is spent', [0.5, 0.5, 0.5], true],
    ['not while the budget lasts', [0.1, 0.1, 0.1, 0.1], false],
    ['at the most, whatever the budget', [0.1, 0.1, 0.1, 0.1, 0.1], true],
    ['at any number once patience ends', [21], true],
  ])('%s', (_, samples, enough) => {
    expect(isEnough(samples, limits)).toBe(enough)
  })
})

test('runs that warm up do not count', async () => {
  const interruption = new Interruption()
  let runs = 0
  const { samples } = await timeRuns(async () => void runs++, { ...limits, budget: 0 }, interruption)
  interruption.dispose()
  expect(samples).toHaveLength(3)
  expect(runs).toBe(5)
})

test.each([
  ['Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz', 2, 'intel-xeon-platinum-8481c-2-cores'],
  ['AMD Ryzen 9 7950X 16-Core Processor', 32, 'amd-ryzen-9-7950x-16-core-32-cores'],
  ['', 1, 'unknown-1-cores'],
])('%s makes a file name', (cpu, cores, slug) => {
  expect(machineSlug({ cpu, cores })).toBe(slug)
})
