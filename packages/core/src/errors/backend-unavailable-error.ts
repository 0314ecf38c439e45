import { PhsaError } from './phsa-error.js'

/** A backend cannot work on this machine; the message says why and what would help. */
export class BackendUnavailableError extends PhsaError {
  constructor(message: string, options?: ErrorOptions) {
    super('backend-unavailable', message, options)
  }
}
