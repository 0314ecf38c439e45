import * as tf from '@tensorflow/tfjs-core'
import { viewOf } from '../memory/elements.js'

/**
 * log sum exp of each row of scores, whose softmax p is given: s - log p of any column that is not unlikely, because the engines' exp is far
 * slower than their softmax.
 */
export function logTotals(scores: tf.Tensor2D, probabilities: tf.Tensor2D): Float64Array {
  // libtensorflow would copy all of them to the host, so there the engine finds the largest.
  if (tf.getBackend() === 'tensorflow') {
    const largest = viewOf(tf.max(probabilities, 1))
    return Float64Array.from(viewOf(tf.max(scores, 1)), (score, row) => score - Math.log(largest[row]))
  }
  const [rows, width] = scores.shape
  const [scoreView, probabilityView] = [viewOf(scores), viewOf(probabilities)]
  const totals = new Float64Array(rows)
  for (let row = 0; row < rows; row++) {
    const at = likelyColumn(probabilityView, row * width, width)
    totals[row] = scoreView[at] - Math.log(probabilityView[at])
  }
  return totals
}

/** The first of a row that has half of the mean or more; where none has, they are NaN, and the last one serves. */
function likelyColumn(probabilities: Float32Array, start: number, width: number): number {
  const last = start + width - 1
  let at = start
  while (at < last && !(probabilities[at] * width > 0.5)) at++
  return at
}
