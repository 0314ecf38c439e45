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

test.each([
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
