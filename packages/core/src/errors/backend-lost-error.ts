import { PhsaError } from './phsa-error.js'

/** The device went away; the backend must be made anew. */
export class BackendLostError extends PhsaError {
  constructor(message: string, options?: ErrorOptions) {
    super('backend-lost', message, options)
  }
}
