import { expect } from 'vitest'

/** Frobenius norm of a - b over that of b; NaN anywhere is a NaN result, which no bound accepts. */
export function relativeError(actual: ArrayLike<number>, expected: ArrayLike<number>): number {
  let difference = 0
  let norm = 0
  for (let index = 0; index < expected.length; index++) {
    difference += (actual[index] - expected[index]) ** 2
    norm += expected[index] ** 2
  }
  return norm === 0 ? Math.sqrt(difference) : Math.sqrt(difference / norm)
}

/** Same length and relative error at most `bound`. */
export function expectClose(actual: ArrayLike<number>, expected: ArrayLike<number>, bound = 1e-6): void {
  expect(actual.length).toBe(expected.length)
  expect(relativeError(actual, expected)).toBeLessThanOrEqual(bound)
}
