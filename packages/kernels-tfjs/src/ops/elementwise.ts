import { checkAdd, checkSwiglu, checkSwigluBackward, type ModelOps } from '@phsa/core'
import * as tf from '@tensorflow/tfjs-core'
import type { TfjsMemory } from '../memory/tfjs-memory.js'

/** Elementwise ops: silu(gate) * up with its gradients, and a + b. */
export function elementwiseOps(memory: TfjsMemory): Pick<ModelOps, 'swiglu' | 'swigluBackward' | 'add'> {
  const { owner } = memory
  return {
    swiglu(gate, up) {
      memory.checkOpen()
      checkSwiglu(owner, gate, up)
      return memory.run(() => {
        const x = memory.matrix(gate)
        return memory.fromEngine(tf.mul(tf.mul(x, tf.sigmoid(x)), memory.matrix(up)), gate.shape)
      })
    },

    swigluBackward(dy, gate, up) {
      memory.checkOpen()
      checkSwigluBackward(owner, dy, gate, up)
      return memory.run(() => {
        const x = memory.matrix(gate)
        const change = memory.matrix(dy)
        const sigmoid = tf.sigmoid(x)
        const silu = tf.mul(x, sigmoid)
        // silu' = sigmoid + silu * (1 - sigmoid)
        const slope = tf.add(sigmoid, tf.sub(silu, tf.mul(silu, sigmoid)))
        return {
          dGate: memory.fromEngine(tf.mul(tf.mul(change, memory.matrix(up)), slope), gate.shape),
          dUp: memory.fromEngine(tf.mul(change, silu), up.shape),
        }
      })
    },

    add(a, b) {
      memory.checkOpen()
      checkAdd(owner, a, b)
      return memory.run(() => memory.fromEngine(tf.add(memory.matrix(a), memory.matrix(b)), a.shape))
    },
  }
}
