import * as tf from '@tensorflow/tfjs-core'
import { viewOf } from '../memory/elements.js'

/** Rows of scores after the exponential: [rows, width], read before the next TensorFlow.js call. */
export interface ColumnProbabilities {
  readonly values: Float32Array
  /** Whether each row still has to be divided by its sum. */
  readonly undivided: boolean
}

/**
 * Softmax over the columns of scores [rows, width], of which masked ones are -Infinity. An element must have the same bits however wide its
 * row is and whatever rows are beside it: a block is selected by it (spec 6). libtensorflow's softmax adds a row up in an order
 * that depends on its width; its exponential is steady, so there the sums are left to the host.
 */
export function columnProbabilities(scores: tf.Tensor2D): ColumnProbabilities {
  if (tf.getBackend() !== 'tensorflow') return { values: viewOf(tf.softmax(scores)), undivided: false }
  return { values: viewOf(tf.exp(tf.sub(scores, tf.max(scores, 1, true)))), undivided: true }
}

/**
 * query [rows, D] times columns [D, width], where an element has the same bits whatever rows are beside it. libtensorflow multiplies a single row by
 * a routine of its own, so that one goes in twice.
 */
export function steadyProduct(query: tf.Tensor2D, columns: tf.Tensor2D): tf.Tensor2D {
  if (query.shape[0] > 1) return tf.matMul(query, columns)
  return tf.slice(tf.matMul<tf.Tensor2D>(tf.concat([query, query], 0), columns), [0, 0], [1, columns.shape[1]])
}
