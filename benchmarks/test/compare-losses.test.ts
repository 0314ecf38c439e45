import { expect, test } from 'vitest'
import { lossDifference, parseLosses } from '../portable/loss-difference.js'

const log = (losses: readonly (number | null)[], distilled: readonly (number | undefined)[] = []) =>
  losses.map((loss, index) => JSON.stringify({ step: index + 1, tokens: 1, loss, distillationLoss: distilled[index] })).join('\n')

test('the largest differences and their steps are found', () => {
  const reference = parseLosses(log([5, 4, 3, 9], [undefined, 1, 1]), 3)
  const run = parseLosses(log([5, 4.25, 3.5, 0], [undefined, 1.5, 1.125]), 3)
  expect(lossDifference(run, reference)).toEqual({ steps: 3, loss: { most: 0.5, step: 3 }, distillationLoss: { most: 0.5, step: 2 } })
  expect(lossDifference(parseLosses(log([1]), 1), parseLosses(log([1]), 1))).toEqual({ steps: 1, loss: { most: 0, step: 1 } })
})

test('logs that say nothing are refused', () => {
  expect(() => parseLosses(log([5, 4]), 3)).toThrow('line 3 of 3')
  expect(() => parseLosses(log([5, null]), 2)).toThrow('loss of step 2 is not finite')
  expect(() => lossDifference(parseLosses(log([5]), 1), parseLosses(log([5], [1]), 1))).toThrow(
    'only one of the two runs distils in step 1',
  )
})
