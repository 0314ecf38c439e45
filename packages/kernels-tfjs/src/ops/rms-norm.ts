import { checkAddRmsNorm, checkRmsNorm, checkRmsNormBackward, type ModelOps } from '@phsa/core'
import * as tf from '@tensorflow/tfjs-core'
import type { TfjsMemory } from '../memory/tfjs-memory.js'
import { sumOfRows } from './matmul.js'

/** x / sqrt(mean(x^2) + epsilon) * weight and its gradients. */
export function rmsNormOps(memory: TfjsMemory): Pick<ModelOps, 'rmsNorm' | 'addRmsNorm' | 'rmsNormBackward'> {
  const { owner } = memory
  return {
    rmsNorm(x, weight, epsilon) {
      memory.checkOpen()
      checkRmsNorm(owner, x, weight)
      if (x.shape[0] === 0) return memory.alloc(x.shape, 'f32')
      return memory.run(() => {
        const rows = memory.matrix(x)
        return memory.fromEngine(tf.mul(tf.mul(rows, inverseNorm(rows, epsilon)), memory.vector(weight)), x.shape)
      })
    },

    addRmsNorm(a, b, weight, epsilon) {
      memory.checkOpen()
      checkAddRmsNorm(owner, a, b, weight)
      if (a.shape[0] === 0) return { sum: memory.alloc(a.shape, 'f32'), normed: memory.alloc(a.shape, 'f32') }
      return memory.run(() => {
        const rows = tf.add(memory.matrix(a), memory.matrix(b)) as tf.Tensor2D
        const normed = tf.mul(tf.mul(rows, inverseNorm(rows, epsilon)), memory.vector(weight))
        return { sum: memory.fromEngine(rows, a.shape), normed: memory.fromEngine(normed, a.shape) }
      })
    },

    rmsNormBackward(dy, x, weight, epsilon, dWeight) {
      memory.checkOpen()
      checkRmsNormBackward(owner, dy, x, weight, dWeight)
      if (x.shape[0] === 0) return memory.alloc(x.shape, 'f32')
      return memory.run(() => {
        const rows = memory.matrix(x)
        const inverse = inverseNorm(rows, epsilon)
        const normal = tf.mul(rows, inverse)
        const change = memory.matrix(dy)
        memory.accumulate(dWeight, sumOfRows(tf.mul(change, normal)))
        const scaled = tf.mul(change, memory.vector(weight))
        const along = tf.mul(tf.sum(tf.mul(scaled, normal), 1, true), 1 / rows.shape[1])
        return memory.fromEngine(tf.mul(tf.sub(scaled, tf.mul(normal, along)), inverse), x.shape)
      })
    },
  }
}

/** [T, 1] */
function inverseNorm(rows: tf.Tensor2D, epsilon: number): tf.Tensor {
  const squares = tf.sum(tf.square(rows), 1, true)
  return tf.rsqrt(tf.add(tf.mul(squares, 1 / rows.shape[1]), epsilon))
}
