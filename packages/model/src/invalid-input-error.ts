import { PhsaError } from '@phsa/core'

/** Tokens, lengths or options that a model cannot take; the message says what was given and what is allowed. Code `invalid-input`. */
export class InvalidInputError extends PhsaError {
  constructor(message: string, options?: ErrorOptions) {
    super('invalid-input', message, options)
  }
}
