import { PhsaError } from '@phsa/core'

/** As many requests wait as are allowed to. Code `queue-full`. */
export class QueueFullError extends PhsaError {
  constructor(message: string, options?: ErrorOptions) {
    super('queue-full', message, options)
  }
}
