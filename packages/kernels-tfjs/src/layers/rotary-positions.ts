import * as tf from '@tensorflow/tfjs-core'

/** Cosines and sines of every position and pair, [length, headDim / 2], from float64 so that large positions keep their phase (spec 1). */
export interface RotaryTable {
  readonly length: number
  readonly cos: Float32Array
  readonly sin: Float32Array
}

/** The table of positions 0 to length - 1; pair d turns by theta^(-2 d / headDim) a position. */
export function rotaryTable(length: number, headDim: number, theta: number): RotaryTable {
  const half = headDim / 2
  const frequencies = Float64Array.from({ length: half }, (_, d) => theta ** (-d / half))
  const cos = new Float32Array(length * half)
  const sin = new Float32Array(length * half)
  for (let position = 0; position < length; position++) {
    for (let d = 0; d < half; d++) {
      const angle = position * frequencies[d]
      cos[position * half + d] = Math.cos(angle)
      sin[position * half + d] = Math.sin(angle)
    }
  }
  return { length, cos, sin }
}

/** Turns the halves (i, i + headDim / 2) of each head by its position. @param x [batch, length, heads, headDim], at most as long as the table */
export function rotate(x: tf.Tensor4D, table: RotaryTable): tf.Tensor4D {
  const [, length, , headDim] = x.shape
  const half = headDim / 2
  const angles = (values: Float32Array) => tf.tensor4d(values.subarray(0, length * half), [1, length, 1, half])
  const [cos, sin] = [angles(table.cos), angles(table.sin)]
  const [low, high] = tf.split<tf.Tensor4D>(x, 2, 3)
  const turnedLow = tf.sub<tf.Tensor4D>(tf.mul(low, cos), tf.mul(high, sin))
  const turnedHigh = tf.add<tf.Tensor4D>(tf.mul(high, cos), tf.mul(low, sin))
  return tf.concat([turnedLow, turnedHigh], 3)
}
