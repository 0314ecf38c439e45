import { expect, test } from 'vitest'
import { stepsWithin } from '../src/demo/fit-steps.js'

test('steps fill the time at the mix of dense and sparse ones', () => {
  expect(stepsWithin(100, { dense: 0.5, sparse: 3 })).toBe(100)
})

test('a slow machine still sees both stages', () => {
  expect(stepsWithin(5, { dense: 10, sparse: 10 })).toBe(10)
})
