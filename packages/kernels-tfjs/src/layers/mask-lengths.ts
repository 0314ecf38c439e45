import { ShapeError } from '@phsa/core'
import type * as tf from '@tensorflow/tfjs-core'

/**
 * Valid tokens of each row of a Keras mask, whose padding is at the end.
 * @param mask [batch, length], as `tf.layers.embedding({ maskZero: true })` makes it
 * @throws ShapeError for another shape, and for padding before or between valid tokens
 */
export function maskLengths(mask: tf.Tensor, batch: number, length: number): number[] {
  if (mask.rank !== 2 || mask.shape[0] !== batch || mask.shape[1] !== length) {
    throw new ShapeError(
      `the mask has shape [${mask.shape.join(', ')}]; for this input it must be [batch, length], here [${batch}, ${length}].`,
    )
  }
  const valid = mask.dataSync()
  return Array.from({ length: batch }, (_, row) => {
    const marks = valid.subarray(row * length, (row + 1) * length)
    const end = marks.findIndex((mark) => !mark)
    const tokens = end < 0 ? length : end
    const later = marks.subarray(tokens).findIndex((mark) => Boolean(mark))
    if (later < 0) return tokens
    throw new ShapeError(
      `row ${row} of the mask leaves out token ${tokens} but not token ${tokens + later}; PhsaAttention takes padding at the end of rows only. Pad there, with an id that no token has.`,
    )
  })
}
