import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { InvalidConfigError, type NeedleOptions, needlePrompt } from '../src/index.js'
import { errorOf } from './error-of.js'

const haystack = Int32Array.from({ length: 100 }, (_, index) => index)
const options: NeedleOptions = {
  haystack,
  needle: Int32Array.of(900, 901, 902),
  question: Int32Array.of(950, 951),
  length: 25,
  depth: 0.5,
  seed: 1,
}

describe('needlePrompt', () => {
  test('holds a run of the haystack, the needle at its depth and the question last', () => {
    fc.assert(
      fc.property(fc.integer({ min: 5, max: 105 }), fc.double({ min: 0, max: 1, noNaN: true }), fc.nat(), (length, depth, seed) => {
        const { tokens, needleStart, questionStart } = needlePrompt({ ...options, length, depth, seed })
        const filler = length - 5
        expect(tokens).toHaveLength(length)
        expect(needleStart).toBe(Math.round(depth * filler))
        expect([...tokens.subarray(needleStart, needleStart + 3)]).toEqual([900, 901, 902])
        expect(questionStart).toBe(length - 2)
        expect([...tokens.subarray(questionStart)]).toEqual([950, 951])
        const rest = [...tokens.subarray(0, needleStart), ...tokens.subarray(needleStart + 3, questionStart)]
        expect(rest).toEqual(Array.from({ length: filler }, (_, index) => rest[0] + index))
      }),
    )
  })

  test('depth 0 is before all filler, 1 just before the question', () => {
    expect(needlePrompt({ ...options, depth: 0 }).needleStart).toBe(0)
    expect(needlePrompt({ ...options, depth: 1 }).needleStart).toBe(20)
  })

  test('the seed decides the filler, and nothing else', () => {
    expect(needlePrompt(options)).toEqual(needlePrompt(options))
    const starts = Array.from({ length: 20 }, (_, seed) => needlePrompt({ ...options, seed }).tokens[0])
    expect(new Set(starts).size).toBeGreaterThan(5)
    expect(new Set(Array.from({ length: 20 }, (_, seed) => needlePrompt({ ...options, seed }).needleStart)).size).toBe(1)
  })

  test.each([
    ['needle', { needle: new Int32Array() }, 'needle has no tokens'],
    ['question', { question: new Int32Array() }, 'question has no tokens'],
    ['depth', { depth: 1.1 }, 'depth is 1.1'],
    ['depth', { depth: Number.NaN }, 'depth is NaN'],
    ['length', { length: 4 }, 'integer from 5 to 105'],
    ['length', { length: 106 }, 'Give a longer haystack'],
    ['length', { length: 20.5 }, 'length is 20.5'],
  ])('refuses a wrong %s: %j', (setting, change, message) => {
    const error = errorOf(() => needlePrompt({ ...options, ...change }))
    expect(error).toBeInstanceOf(InvalidConfigError)
    expect(error).toMatchObject({ setting })
    expect(error.message).toContain(message)
  })
})
