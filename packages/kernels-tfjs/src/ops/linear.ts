import { checkLinear, checkLinearBackward, type ModelOps } from '@phsa/core'
import * as tf from '@tensorflow/tfjs-core'
import type { TfjsMemory } from '../memory/tfjs-memory.js'
import { timesTransposed, transposedTimes } from './matmul.js'

/** y = x Wt and its gradients. */
export function linearOps(memory: TfjsMemory): Pick<ModelOps, 'linear' | 'linearBackward'> {
  const { owner } = memory
  return {
    linear(x, weight) {
      memory.checkOpen()
      checkLinear(owner, x, weight)
      const [outputs, inputs] = weight.shape
      const shape = [x.shape[0], outputs]
      // The engines refuse matrices without elements.
      if (x.shape[0] * inputs * outputs === 0) return memory.alloc(shape, 'f32')
      return memory.run(() => memory.fromEngine(timesTransposed(memory.matrix(x), memory.matrix(weight)), shape))
    },

    linearBackward(dy, x, weight, dWeight, dx) {
      memory.checkOpen()
      checkLinearBackward(owner, dy, x, weight, dWeight, dx)
      if (x.shape[0] * weight.shape[0] * weight.shape[1] === 0) return dx ?? memory.alloc(x.shape, 'f32')
      return memory.run(() => {
        const change = memory.matrix(dy)
        memory.accumulate(dWeight, transposedTimes(change, memory.matrix(x)))
        const back = tf.matMul(change, memory.matrix(weight))
        if (!dx) return memory.fromEngine(back, x.shape)
        memory.accumulate(dx, back)
        return dx
      })
    },
  }
}
