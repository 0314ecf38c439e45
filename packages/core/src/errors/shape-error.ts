import { PhsaError } from './phsa-error.js'

/** A tensor has another shape or element type than the call takes. */
export class ShapeError extends PhsaError {
  constructor(message: string) {
    super('shape', message)
  }
}
