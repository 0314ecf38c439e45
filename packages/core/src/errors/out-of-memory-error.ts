import { PhsaError } from './phsa-error.js'

/** The device has no room; the message says what was asked and, where known, what is free. */
export class OutOfMemoryError extends PhsaError {
  constructor(message: string, options?: ErrorOptions) {
    super('out-of-memory', message, options)
  }
}
