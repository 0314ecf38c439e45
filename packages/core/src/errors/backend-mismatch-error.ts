import { PhsaError } from './phsa-error.js'

/** A tensor or cache of one backend was given to another. */
export class BackendMismatchError extends PhsaError {
  constructor(message: string) {
    super('backend-mismatch', message)
  }
}
