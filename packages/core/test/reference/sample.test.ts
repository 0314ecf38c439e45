import { expect, test } from 'vitest'
import { RandomStream } from '../../src/index.js'
import { type SampleControl, sampleToken } from '../../src/reference/ops/sample.js'

/** Logits of given probabilities. */
const logitsOf = (...probabilities: number[]) => Float64Array.from(probabilities, Math.log)
const free: SampleControl = { temperature: 1, topK: 0, topP: 1, minP: 0, uniform: 0 }
const draw = (logits: Float64Array, control: Partial<SampleControl>) => sampleToken(logits, { ...free, ...control })

test('temperature 0 takes the likeliest, the lower id of equals', () => {
  expect(draw(Float64Array.of(1, 3, 3, 2), { temperature: 0, uniform: 0.99 })).toBe(1)
})

test('the first token whose running share exceeds the uniform number, by falling probability and rising id', () => {
  const logits = logitsOf(0.25, 0.5, 0.25)
  expect(draw(logits, { uniform: 0 })).toBe(1)
  expect(draw(logits, { uniform: 0.49 })).toBe(1)
  expect(draw(logits, { uniform: 0.51 })).toBe(0)
  expect(draw(logits, { uniform: 0.76 })).toBe(2)
  expect(draw(logits, { uniform: 1 - 2 ** -24 })).toBe(2)
})

test('topK keeps the first ones and renormalises', () => {
  const logits = logitsOf(0.1, 0.6, 0.3)
  expect(draw(logits, { topK: 2, uniform: 0.66 })).toBe(1)
  expect(draw(logits, { topK: 2, uniform: 0.67 })).toBe(2)
  expect(draw(logits, { topK: 1, uniform: 0.999 })).toBe(1)
  expect(draw(logits, { topK: 9, uniform: 0.999 })).toBe(0)
})

test('topP keeps the shortest run that reaches it, never fewer than one', () => {
  const logits = logitsOf(0.1, 0.6, 0.3)
  expect(draw(logits, { topP: 0.59, uniform: 0.999 })).toBe(1)
  expect(draw(logits, { topP: 0.61, uniform: 0.999 })).toBe(2)
  expect(draw(logits, { topP: 0.91, uniform: 0.999 })).toBe(0)
  expect(draw(logits, { topP: 0, uniform: 0.999 })).toBe(1)
})

test('minP leaves out what is small beside the largest', () => {
  const logits = logitsOf(0.1, 0.6, 0.3)
  expect(draw(logits, { minP: 0.4, uniform: 0.999 })).toBe(2)
  expect(draw(logits, { minP: 0.6, uniform: 0.999 })).toBe(1)
  expect(draw(logits, { minP: 2, uniform: 0.999 })).toBe(1)
})

test('temperature sharpens before anything is cut', () => {
  const logits = logitsOf(0.25, 0.75)
  // Squared probabilities: 0.1 and 0.9.
  expect(draw(logits, { temperature: 0.5, uniform: 0.89 })).toBe(1)
  expect(draw(logits, { temperature: 0.5, uniform: 0.91 })).toBe(0)
  expect(draw(logits, { temperature: 0.5, topP: 0.85, uniform: 0.999 })).toBe(1)
})

test('masked and NaN logits are never drawn', () => {
  const logits = Float64Array.of(Number.NaN, 0, Number.NEGATIVE_INFINITY, 0)
  expect(draw(logits, { uniform: 0.49 })).toBe(1)
  expect(draw(logits, { uniform: 1 - 2 ** -24 })).toBe(3)
  expect(draw(logits, { temperature: 0 })).toBe(1)
  expect(draw(Float64Array.of(Number.NaN, Number.NEGATIVE_INFINITY), { uniform: 0.7 })).toBe(0)
})

test('draws follow the probabilities', () => {
  const random = new RandomStream(3)
  const counts = [0, 0, 0]
  for (let index = 0; index < 3000; index++) counts[draw(logitsOf(0.2, 0.5, 0.3), { uniform: random.uniform() })]++
  // Four standard deviations of the largest count are below 0.04.
  for (const [id, share] of [0.2, 0.5, 0.3].entries()) expect(Math.abs(counts[id] / 3000 - share)).toBeLessThan(0.04)
})
