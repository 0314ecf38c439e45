import { PhsaError } from '@phsa/core'

/** What was typed, or a file that it names, cannot be used; exit code 2. The message says what is allowed. */
export class UsageError extends PhsaError {
  constructor(message: string, options?: ErrorOptions) {
    super('usage', message, options)
  }
}
