import { PhsaError } from './phsa-error.js'

/** Something that a captured step cannot hold was called while one is recorded; the message says where it belongs instead. */
export class CaptureError extends PhsaError {
  constructor(message: string) {
    super('capture', message)
  }
}
