import { describe, expect, test } from 'vitest'
import { InvalidConfigError, perplexity } from '../src/index.js'

describe('perplexity', () => {
  test('of a uniform guess among n tokens is n', () => {
    expect(perplexity(new Float64Array(50).fill(Math.log(8192)))).toBeCloseTo(8192, 8)
  })

  test('is the exponential of the mean loss', () => {
    expect(perplexity([1, 2, 6])).toBeCloseTo(Math.exp(3), 12)
    expect(perplexity([0])).toBe(1)
  })

  test('of no tokens is an error', () => {
    expect(() => perplexity([])).toThrow(InvalidConfigError)
  })
})
