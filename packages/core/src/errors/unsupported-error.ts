import { PhsaError } from './phsa-error.js'

/** A backend does not do what was asked; the message says what it does. */
export class UnsupportedError extends PhsaError {
  /** What is not supported, for instance `block-size`. */
  readonly feature: string

  constructor(feature: string, message: string) {
    super('unsupported', message)
    this.feature = feature
  }
}
