import { PhsaError } from './phsa-error.js'

/** A tensor, cache or backend was used after it was disposed. */
export class DisposedError extends PhsaError {
  constructor(message: string) {
    super('disposed', message)
  }
}
