import type { HostArray } from '../contract/tensor.js'
import { boundedCheck, type TensorCheck } from './tensor-check.js'

/** Euclidean norm of all elements; Infinity where one is not finite. */
export function frobeniusNorm(values: HostArray): number {
  let sum = 0
  for (const value of values) sum += value * value
  return Number.isFinite(sum) ? Math.sqrt(sum) : Number.POSITIVE_INFINITY
}

/** Norm of the difference; Infinity where an element is not finite or the lengths differ. */
export function errorNorm(actual: HostArray, expected: HostArray): number {
  if (actual.length !== expected.length) return Number.POSITIVE_INFINITY
  let sum = 0
  for (let index = 0; index < actual.length; index++) sum += (actual[index] - expected[index]) ** 2
  return Number.isFinite(sum) ? Math.sqrt(sum) : Number.POSITIVE_INFINITY
}

/** ||actual - expected|| / ||expected||; 0 where both are all zero, Infinity where only the expected one is (spec 11, relF). */
export function relativeError(actual: HostArray, expected: HostArray): number {
  return quotient(errorNorm(actual, expected), frobeniusNorm(expected))
}

/** Largest row error over max(row norm, rms row norm), and the row that has it (spec 11). @param width elements a row */
export function rowwiseError(actual: HostArray, expected: HostArray, width: number): { readonly error: number; readonly row: number } {
  if (actual.length !== expected.length) return { error: Number.POSITIVE_INFINITY, row: 0 }
  const rows = expected.length / width
  const typical = frobeniusNorm(expected) / Math.sqrt(Math.max(rows, 1))
  let worst = { error: 0, row: 0 }
  for (let row = 0; row < rows; row++) {
    const reference = expected.subarray(row * width, (row + 1) * width)
    const error = quotient(
      errorNorm(actual.subarray(row * width, (row + 1) * width), reference),
      Math.max(frobeniusNorm(reference), typical),
    )
    if (error > worst.error) worst = { error, row }
  }
  return worst
}

/** Relative Frobenius error against its bound. */
export function relativeCheck(name: string, actual: HostArray, expected: HostArray, bound: number): TensorCheck {
  const detail = actual.length === expected.length ? undefined : `${actual.length} elements instead of ${expected.length}`
  return boundedCheck(name, relativeError(actual, expected), bound, detail)
}

/** Row by row error against its bound. @param width elements a row */
export function rowwiseCheck(name: string, actual: HostArray, expected: HostArray, width: number, bound: number): TensorCheck {
  const { error, row } = rowwiseError(actual, expected, width)
  return boundedCheck(`${name} rows`, error, bound, `worst in row ${row}`)
}

function quotient(error: number, size: number): number {
  if (error === 0) return 0
  return size === 0 ? Number.POSITIVE_INFINITY : error / size
}
