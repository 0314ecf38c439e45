import { PhsaError } from '@phsa/core'

/** A run that could not go on after it had begun; the cause says why, the message how to go on. */
export class StoppedRunError extends PhsaError {
  constructor(message: string, options: ErrorOptions) {
    super('stopped-run', message, options)
  }
}
