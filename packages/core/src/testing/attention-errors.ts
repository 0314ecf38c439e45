import type { HostArray } from '../contract/tensor.js'
import { errorNorm, frobeniusNorm } from './relative-error.js'
import { boundedCheck, type TensorCheck } from './tensor-check.js'

/**
 * Log-sum-exp (spec 11): |error| over max(1, largest |s| of the row).
 * @param largestScore largest |s| of each row, as long as lse
 */
export function lseCheck(name: string, actual: HostArray, expected: HostArray, largestScore: HostArray, bound: number): TensorCheck {
  if (actual.length !== expected.length)
    return boundedCheck(name, Number.POSITIVE_INFINITY, bound, `${actual.length} rows instead of ${expected.length}`)
  let worst = 0
  let row = 0
  for (let index = 0; index < expected.length; index++) {
    const error = Math.abs(actual[index] - expected[index]) / Math.max(1, largestScore[index])
    // Written this way round so that NaN counts as the worst.
    if (error <= worst) continue
    worst = Number.isNaN(error) ? Number.POSITIVE_INFINITY : error
    row = index
    if (worst === Number.POSITIVE_INFINITY) break
  }
  return boundedCheck(name, worst, bound, `row ${row} is ${actual[row]} instead of ${expected[row]}`)
}

/**
 * dq or dk (spec 11): ||error|| <= max(tol ||ref||, tol/8 ||F||), measured as error over the allowed one, so that the bound is 1.
 * @param magnitude ||F||, the norm of the gradient formula with absolute values inside
 */
export function cancellingCheck(
  name: string,
  actual: HostArray,
  expected: HostArray,
  magnitude: number,
  tolerance: { readonly relative: number; readonly cancellation: number },
): TensorCheck {
  const error = errorNorm(actual, expected)
  const allowed = Math.max(tolerance.relative * frobeniusNorm(expected), tolerance.cancellation * magnitude)
  // In units of relF, so that reports read alike; the bound grows where the terms cancel.
  const size = frobeniusNorm(expected)
  if (size === 0) return boundedCheck(name, error, allowed)
  return boundedCheck(name, error / size, allowed / size)
}
