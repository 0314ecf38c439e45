import { PhsaError } from '@phsa/core'

/** A client read its stream so slowly that too much of it was waiting; its request ended. Code `slow-client`. */
export class SlowClientError extends PhsaError {
  constructor(message: string, options?: ErrorOptions) {
    super('slow-client', message, options)
  }
}
