import { expect, test } from 'vitest'
import { parseScheduleOption } from '../src/training/schedule-option.js'

test('stages are dense, a topK, or a falling topK; sparse ones distil unless told otherwise', () => {
  expect(parseScheduleOption('dense:0.5, 8-2:0.3,2:.2!').stages).toEqual([
    { kind: 'dense', share: 0.5 },
    { kind: 'sparse', share: 0.3, topK: { from: 8, to: 2 }, distillation: true },
    { kind: 'sparse', share: 0.2, topK: 2, distillation: false },
  ])
})

test.each(['', 'dense', 'dense:1,', 'sparse:1', '2:-1'])('%j is refused with the form that is meant', (text) => {
  expect(() => parseScheduleOption(text)).toThrow(/KIND:SHARE/)
})

test('shares that do not sum to 1 are refused', () => {
  expect(() => parseScheduleOption('dense:0.5,2:0.2')).toThrow(/sum to 1/)
})
