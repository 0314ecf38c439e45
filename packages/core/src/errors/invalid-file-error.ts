import { PhsaError } from './phsa-error.js'

/** A file is not what its format demands; the message names the file where known, the tensor and the fault. */
export class InvalidFileError extends PhsaError {
  constructor(message: string, options?: ErrorOptions) {
    super('invalid-file', message, options)
  }
}
