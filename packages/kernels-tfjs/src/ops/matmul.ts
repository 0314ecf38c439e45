import * as tf from '@tensorflow/tfjs-core'

// The wasm engine has a fast matrix product for two plain matrices only; with a transpose flag it is ten times slower and more. So operands are
// transposed apart there. It packs the right one before it multiplies, at several times the cost of a transposition an element: where
// there is a choice, that is the smaller one. The other engines take flags as they are.

/** x [T, I] times weight [O, I] transposed: [T, O]. */
export function timesTransposed(x: tf.Tensor2D, weight: tf.Tensor2D): tf.Tensor2D {
  if (!transposesApart()) return tf.matMul(x, weight, false, true)
  const [rows, inputs] = x.shape
  const outputs = weight.shape[0]
  if (rows * (inputs + outputs) > inputs * outputs) return tf.matMul(x, tf.transpose(weight))
  // Few rows, as in decoding: the weight stays as it lies.
  return turned(tf.matMul(weight, turned(x)))
}

/** Left [T, O] transposed times right [T, I]: [O, I]. */
export function transposedTimes(left: tf.Tensor2D, right: tf.Tensor2D): tf.Tensor2D {
  if (!transposesApart()) return tf.matMul(left, right, true, false)
  if (left.shape[1] >= right.shape[1]) return tf.matMul(turned(left), right)
  return turned(tf.matMul(turned(right), left))
}

/** Sum over the rows of x [T, E]: [1, E]. A product with ones is ten times faster than the engines' sum over a first axis. */
export function sumOfRows(x: tf.Tensor2D): tf.Tensor2D {
  return tf.matMul(tf.ones<tf.Rank.R2>([1, x.shape[0]]), x)
}

function transposesApart(): boolean {
  return tf.getBackend() === 'wasm'
}

/** A single row or column lies the same way when it is transposed. */
function turned(matrix: tf.Tensor2D): tf.Tensor2D {
  const [rows, columns] = matrix.shape
  return rows === 1 || columns === 1 ? tf.reshape(matrix, [columns, rows]) : tf.transpose(matrix)
}
