import { isPhsaError } from '@phsa/core'
import { expect, test } from 'vitest'
import { type LearningRateOptions, learningRateAt, requireLearningRate } from '../src/learning-rate.js'

const base: LearningRateOptions = { peak: 0.01, warmupSteps: 4, decay: 'cosine', finalShare: 0.1, totalSteps: 25 }

test('rises linearly to the peak and starts above zero', () => {
  const rates = [0, 1, 2, 3, 4].map((step) => learningRateAt(step, base))
  for (const [step, expected] of [0.0025, 0.005, 0.0075, 0.01, 0.01].entries()) expect(rates[step]).toBeCloseTo(expected, 12)
})

test.each(['cosine', 'linear'] as const)('%s decay falls without a rise and ends at its share of the peak', (decay) => {
  const rates = Array.from({ length: 21 }, (_, index) => learningRateAt(4 + index, { ...base, decay }))
  for (let index = 1; index < rates.length; index++) expect(rates[index]).toBeLessThan(rates[index - 1])
  expect(rates[10]).toBeCloseTo(0.0055, 12)
  expect(rates[20]).toBeCloseTo(0.001, 12)
  expect(learningRateAt(400, { ...base, decay })).toBeCloseTo(0.001, 12)
})

test('without decay and warm-up every step has the peak', () => {
  expect([0, 7, 100].map((step) => learningRateAt(step, { ...base, decay: 'none', warmupSteps: 0 }))).toEqual([0.01, 0.01, 0.01])
})

test('a run of one step has the peak', () => {
  expect(learningRateAt(0, { ...base, warmupSteps: 0, totalSteps: 1 })).toBe(0.01)
})

const wsd: LearningRateOptions = { peak: 0.01, warmupSteps: 4, decay: 'wsd', decayShare: 0.2, finalShare: 0.1, totalSteps: 100 }

test('wsd warms up, stays at the peak, and falls over the last steps', () => {
  expect(learningRateAt(1, wsd)).toBeCloseTo(0.005, 12)
  for (let step = 4; step < 80; step++) expect(learningRateAt(step, wsd)).toBe(0.01)
  for (let step = 80; step < 100; step++) expect(learningRateAt(step, wsd)).toBeLessThan(learningRateAt(step - 1, wsd))
  expect(learningRateAt(99, wsd)).toBeCloseTo(0.001, 12)
  expect(learningRateAt(400, wsd)).toBeCloseTo(0.001, 12)
})

test('wsd falls by the root of what is done', () => {
  // Steps 80 to 99 fall; after 84 a quarter is done.
  expect(learningRateAt(84, wsd)).toBeCloseTo(0.01 * (1 - 0.9 * Math.sqrt(0.25)), 12)
})

test('the stable part of wsd does not depend on how long the run is', () => {
  for (let step = 0; step < 80; step++) expect(learningRateAt(step, { ...wsd, totalSteps: 1000 })).toBe(learningRateAt(step, wsd))
})

test('wsd where warm-up and fall meet, and in runs of one and two steps', () => {
  const meeting = { ...wsd, warmupSteps: 90 }
  expect(learningRateAt(90, meeting)).toBe(0.01)
  expect(learningRateAt(99, meeting)).toBeCloseTo(0.001, 12)
  const [one, two] = [1, 2].map((totalSteps) => ({ ...wsd, warmupSteps: 0, decayShare: 1, totalSteps }))
  expect(learningRateAt(0, one)).toBe(0.01)
  expect([0, 1].map((step) => learningRateAt(step, two))).toEqual([0.01, expect.closeTo(0.001, 12)])
})

test.each([
  ['decayShare', { decay: 'wsd' as const, decayShare: 0 }],
  ['decayShare', { decay: 'wsd' as const, decayShare: 1.5 }],
  ['decayShare', { decayShare: 0.1 }],
  ['learningRate', { peak: 0 }],
  ['learningRate', { peak: Number.NaN }],
  ['warmupSteps', { warmupSteps: -1 }],
  ['decay', { decay: 'step' as 'cosine' }],
  ['finalShare', { finalShare: 2 }],
])('refuses a wrong %s: %o', (setting, wrong) => {
  const attempt = () => requireLearningRate({ ...base, ...wrong })
  expect(attempt).toThrow(setting)
  try {
    attempt()
  } catch (error) {
    expect(isPhsaError(error, 'invalid-config')).toBe(true)
  }
})
