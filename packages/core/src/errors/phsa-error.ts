/** Marks our errors across duplicated copies of this package, where `instanceof` would fail. */
const MARK = Symbol.for('phsa.error')

/** Codes to match on; each belongs to one class. */
export type PhsaErrorCode =
  | 'backend-lost'
  | 'backend-mismatch'
  | 'backend-unavailable'
  | 'capture'
  | 'contract-version'
  | 'disposed'
  | 'invalid-config'
  | 'invalid-file'
  | 'out-of-memory'
  | 'shape'
  | 'unsupported'

/** Base of the errors that PHSA packages throw on purpose. A message says what was asked, what is allowed and what to do. */
export class PhsaError extends Error {
  readonly code: string
  readonly [MARK] = true

  constructor(code: PhsaErrorCode | (string & {}), message: string, options?: ErrorOptions) {
    super(message, options)
    this.name = new.target.name
    this.code = code
  }
}

/** Whether an error is ours, and by option of this code; works across copies of core. */
export function isPhsaError(error: unknown, code?: PhsaErrorCode | (string & {})): error is PhsaError {
  if (typeof error !== 'object' || error === null || !(MARK in error)) return false
  return code === undefined || (error as PhsaError).code === code
}
