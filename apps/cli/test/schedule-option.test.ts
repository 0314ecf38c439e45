import { expect, test } from 'vitest'
import { scheduleStages } from '../src/training-config/schedule-option.js'

test('stages are dense, a topK, or a falling topK; sparse ones distil unless told otherwise', () => {
  expect(scheduleStages('dense:0.5, 8-2:0.3,2:.2!')).toEqual([
    { kind: 'dense', share: 0.5 },
    { kind: 'sparse', share: 0.3, topK: { from: 8, to: 2 }, distillation: true },
    { kind: 'sparse', share: 0.2, topK: 2, distillation: false },
  ])
})

test.each(['', 'dense', 'dense:1,', 'sparse:1', '2:-1'])('%j is refused with the form that is meant', (text) => {
  expect(() => scheduleStages(text)).toThrow(/KIND:SHARE/)
})
