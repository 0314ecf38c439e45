import type { HostArray } from '../contract/tensor.js'

/** One comparison of a case: what was measured, what is allowed. */
export interface TensorCheck {
  /** What was compared, for instance `out` or `out rows`. */
  readonly name: string
  /** The error; Infinity where a value is not finite or has no business being there. */
  readonly measured: number
  readonly bound: number
  readonly ok: boolean
  /** Where it went wrong, for people. */
  readonly detail?: string
}

/** A check against a bound. A measure that is not a number fails. */
export function boundedCheck(name: string, measured: number, bound: number, detail?: string): TensorCheck {
  const value = Number.isNaN(measured) ? Number.POSITIVE_INFINITY : measured
  const ok = value <= bound
  return { name, measured: value, bound, ok, ...(detail !== undefined && !ok ? { detail } : {}) }
}

/** A check that holds or does not: measures 0 or 1 against 0. */
export function booleanCheck(name: string, ok: boolean, detail?: string): TensorCheck {
  return boundedCheck(name, ok ? 0 : 1, 0, detail)
}

/** Bit for bit equality but for the payload of NaN; measures how many elements differ. */
export function identityCheck(name: string, actual: HostArray, expected: HostArray): TensorCheck {
  if (actual.length !== expected.length) {
    return boundedCheck(name, Number.POSITIVE_INFINITY, 0, `${actual.length} elements instead of ${expected.length}`)
  }
  let differing = 0
  let first = -1
  for (let index = 0; index < actual.length; index++) {
    if (Object.is(actual[index], expected[index])) continue
    if (first < 0) first = index
    differing++
  }
  return boundedCheck(name, differing, 0, `element ${first} is ${actual[first]} instead of ${expected[first]}`)
}

/** Every element equals `value`; for the rows that belong to no sequence. */
export function constantCheck(name: string, actual: HostArray, value: number): TensorCheck {
  let differing = 0
  // +0 and -0 are both nothing.
  for (const element of actual) if (element !== value) differing++
  return boundedCheck(name, differing, 0, `${differing} elements are not ${value}`)
}
