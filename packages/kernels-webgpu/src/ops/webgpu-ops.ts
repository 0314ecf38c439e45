import {
  checkAdamw,
  checkAdd,
  checkAddRmsNorm,
  checkCrossEntropy,
  checkCrossEntropyBackward,
  checkEmbedding,
  checkEmbeddingBackward,
  checkGradientNorm,
  checkLinear,
  checkLinearBackward,
  checkQkNormRope,
  checkQkNormRopeBackward,
  checkRmsNorm,
  checkRmsNormBackward,
  checkSample,
  checkSwiglu,
  checkSwigluBackward,
  type ModelOps,
} from '@phsa/core'
import { adamw } from './adamw.js'
import { crossEntropy, crossEntropyBackward } from './cross-entropy.js'
import { add, swiglu, swigluBackward } from './elementwise.js'
import { embedding, embeddingBackward } from './embedding.js'
import { gradientNorm } from './gradient-norm.js'
import { linear, linearBackward } from './linear.js'
import type { OpHost } from './op-host.js'
import { qkNormRope, qkNormRopeBackward } from './qk-norm-rope.js'
import { rmsNorm, rmsNormBackward } from './rms-norm.js'
import { sample } from './sample.js'

/** `ModelOps` of one device: each method checks, makes its results and queues its kernels. */
export function webgpuOps(device: OpHost['device'], memory: OpHost['memory']): ModelOps {
  const host = { device, memory }
  const { owner } = memory
  return {
    embedding(table, ids) {
      memory.checkOpen()
      checkEmbedding(owner, table, ids)
      return memory.scope(() => embedding(host, table, ids))
    },

    embeddingBackward(dOut, ids, dTable) {
      memory.checkOpen()
      checkEmbeddingBackward(owner, dOut, ids, dTable)
      embeddingBackward(host, dOut, ids, dTable)
    },

    rmsNorm(x, weight, epsilon) {
      memory.checkOpen()
      checkRmsNorm(owner, x, weight)
      return memory.scope(() => rmsNorm(host, x, weight, epsilon))
    },

    addRmsNorm(a, b, weight, epsilon) {
      memory.checkOpen()
      checkAddRmsNorm(owner, a, b, weight)
      return memory.scope(() => {
        const sum = add(host, a, b)
        return { sum, normed: rmsNorm(host, sum, weight, epsilon) }
      })
    },

    rmsNormBackward(dy, x, weight, epsilon, dWeight) {
      memory.checkOpen()
      checkRmsNormBackward(owner, dy, x, weight, dWeight)
      return memory.scope(() => rmsNormBackward(host, dy, x, weight, epsilon, dWeight))
    },

    linear(x, weight) {
      memory.checkOpen()
      checkLinear(owner, x, weight)
      return memory.scope(() => linear(host, x, weight))
    },

    linearBackward(dy, x, weight, dWeight, dx) {
      memory.checkOpen()
      checkLinearBackward(owner, dy, x, weight, dWeight, dx)
      return memory.scope(() => linearBackward(host, dy, x, weight, dWeight, dx))
    },

    qkNormRope(input) {
      memory.checkOpen()
      checkQkNormRope(owner, input)
      return memory.scope(() => qkNormRope(host, input))
    },

    qkNormRopeBackward(dy, input, dWeight) {
      memory.checkOpen()
      checkQkNormRopeBackward(owner, dy, input, dWeight)
      return memory.scope(() => qkNormRopeBackward(host, dy, input, dWeight))
    },

    swiglu(gate, up) {
      memory.checkOpen()
      checkSwiglu(owner, gate, up)
      return memory.scope(() => swiglu(host, gate, up))
    },

    swigluBackward(dy, gate, up) {
      memory.checkOpen()
      checkSwigluBackward(owner, dy, gate, up)
      return memory.scope(() => swigluBackward(host, dy, gate, up))
    },

    add(a, b) {
      memory.checkOpen()
      checkAdd(owner, a, b)
      return memory.scope(() => add(host, a, b))
    },

    crossEntropy(input) {
      memory.checkOpen()
      checkCrossEntropy(owner, input)
      return memory.scope(() => crossEntropy(host, input))
    },

    crossEntropyBackward(input, dHead) {
      memory.checkOpen()
      checkCrossEntropyBackward(owner, input, dHead)
      return memory.scope(() => crossEntropyBackward(host, input, dHead))
    },

    gradientNorm(gradients, maxNorm) {
      memory.checkOpen()
      checkGradientNorm(owner, gradients)
      return memory.scope(() => gradientNorm(host, gradients, maxNorm))
    },

    adamw(parameters, control, norm, options) {
      memory.checkOpen()
      checkAdamw(owner, parameters, control, norm)
      adamw(host, parameters, control, norm, options)
    },

    sample(logits, control) {
      memory.checkOpen()
      checkSample(owner, logits, control)
      return memory.scope(() => sample(host, logits, control))
    },
  }
}
