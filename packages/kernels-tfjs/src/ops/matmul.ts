import * as tf from '@tensorflow/tfjs-core'

// The wasm engine has a fast matrix product for two plain matrices only; with a transpose flag it is ten times slower. So operands are
// transposed apart, and where there is a choice the smaller one.

/** x [T, I] times weight [O, I] transposed: [T, O]. */
export function timesTransposed(x: tf.Tensor2D, weight: tf.Tensor2D): tf.Tensor2D {
  return tf.matMul(x, tf.transpose(weight))
}

/** Left [T, O] transposed times right [T, I]: [O, I]. */
export function transposedTimes(left: tf.Tensor2D, right: tf.Tensor2D): tf.Tensor2D {
  if (left.shape[1] <= right.shape[1]) return tf.matMul(tf.transpose(left), right)
  return tf.transpose<tf.Tensor2D>(tf.matMul<tf.Tensor2D>(tf.transpose(right), left))
}

/** Sum over the rows of x [T, E]: [1, E]. A product with ones is ten times faster than the engines' sum over a first axis. */
export function sumOfRows(x: tf.Tensor2D): tf.Tensor2D {
  return tf.matMul(tf.ones<tf.Rank.R2>([1, x.shape[0]]), x)
}
