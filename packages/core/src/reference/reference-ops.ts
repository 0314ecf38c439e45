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
} from '../checks/check-ops.js'
import type { CrossEntropyInput, CrossEntropyOutput, ModelOps, QkNormRopeInput } from '../contract/model-ops.js'
import type { DType } from '../contract/tensor.js'
import { derivedDType } from '../derived-dtype.js'
import type { HostMemory } from './host-memory.js'
import { adamw } from './ops/adamw.js'
import { add } from './ops/add.js'
import { type CrossEntropyResult, crossEntropy, crossEntropyBackward } from './ops/cross-entropy.js'
import { embedding, embeddingBackward } from './ops/embedding.js'
import { gradientNorm } from './ops/gradient-norm.js'
import { linear, linearBackward } from './ops/linear.js'
import { qkNormRope, qkNormRopeBackward } from './ops/qk-norm-rope.js'
import { rmsNorm, rmsNormBackward } from './ops/rms-norm.js'
import { sampleToken } from './ops/sample.js'
import { swiglu, swigluBackward } from './ops/swiglu.js'

/** `ModelOps` of the reference backend: each method checks, reads its tensors, calls the kernel of the same name and stores the result. */
export function referenceOps(memory: HostMemory): ModelOps {
  const { owner } = memory

  const ropeArrays = ({ x, weight, positions, rope, epsilon }: QkNormRopeInput) => ({
    x: memory.reals(x),
    weight: memory.reals(weight),
    positions: memory.integers(positions),
    cos: memory.reals(rope.cos),
    sin: memory.reals(rope.sin),
    epsilon,
  })
  const entropyArrays = ({ hidden, head, targets, weights }: CrossEntropyInput) => ({
    hidden: memory.reals(hidden),
    head: memory.reals(head),
    targets: memory.integers(targets),
    weights: memory.reals(weights),
    width: hidden.shape[1],
  })
  const entropyOutput = ({ loss, tokenLosses }: CrossEntropyResult, dtype: DType): CrossEntropyOutput => ({
    loss: memory.make([loss], [1], derivedDType(dtype)),
    tokenLosses: memory.make(tokenLosses, [tokenLosses.length], derivedDType(dtype)),
  })

  return {
    embedding(table, ids) {
      checkEmbedding(owner, table, ids)
      const width = table.shape[1]
      return memory.make(embedding(memory.reals(table), memory.integers(ids), width), [ids.shape[0], width], table.dtype)
    },

    embeddingBackward(dOut, ids, dTable) {
      checkEmbeddingBackward(owner, dOut, ids, dTable)
      const [vocabulary, width] = dTable.shape
      memory.accumulate(dTable, embeddingBackward(memory.reals(dOut), memory.integers(ids), width, vocabulary))
    },

    rmsNorm(x, weight, epsilon) {
      checkRmsNorm(owner, x, weight)
      return memory.make(rmsNorm(memory.reals(x), memory.reals(weight), epsilon), x.shape, x.dtype)
    },

    addRmsNorm(a, b, weight, epsilon) {
      checkAddRmsNorm(owner, a, b, weight)
      const left = memory.reals(a)
      const right = memory.reals(b)
      const sum = memory.make(
        left.map((value, index) => value + right[index]),
        a.shape,
        a.dtype,
      )
      return { sum, normed: memory.make(rmsNorm(memory.reals(sum), memory.reals(weight), epsilon), a.shape, a.dtype) }
    },

    rmsNormBackward(dy, x, weight, epsilon, dWeight) {
      checkRmsNormBackward(owner, dy, x, weight, dWeight)
      const gradients = rmsNormBackward(memory.reals(dy), memory.reals(x), memory.reals(weight), epsilon)
      memory.accumulate(dWeight, gradients.dWeight)
      return memory.make(gradients.dx, x.shape, x.dtype)
    },

    linear(x, weight) {
      checkLinear(owner, x, weight)
      const [outputs, inputs] = weight.shape
      return memory.make(linear(memory.reals(x), memory.reals(weight), { inputs, outputs }), [x.shape[0], outputs], x.dtype)
    },

    linearBackward(dy, x, weight, dWeight, dx) {
      checkLinearBackward(owner, dy, x, weight, dWeight, dx)
      const [outputs, inputs] = weight.shape
      const gradients = linearBackward(memory.reals(dy), memory.reals(x), memory.reals(weight), { inputs, outputs })
      memory.accumulate(dWeight, gradients.dWeight)
      if (!dx) return memory.make(gradients.dx, x.shape, x.dtype)
      memory.accumulate(dx, gradients.dx)
      return dx
    },

    qkNormRope(input) {
      checkQkNormRope(owner, input)
      return memory.make(qkNormRope(ropeArrays(input)), input.x.shape, input.x.dtype)
    },

    qkNormRopeBackward(dy, input, dWeight) {
      checkQkNormRopeBackward(owner, dy, input, dWeight)
      const gradients = qkNormRopeBackward(memory.reals(dy), ropeArrays(input))
      memory.accumulate(dWeight, gradients.dWeight)
      return memory.make(gradients.dx, input.x.shape, input.x.dtype)
    },

    swiglu(gate, up) {
      checkSwiglu(owner, gate, up)
      return memory.make(swiglu(memory.reals(gate), memory.reals(up)), gate.shape, gate.dtype)
    },

    swigluBackward(dy, gate, up) {
      checkSwigluBackward(owner, dy, gate, up)
      const { dGate, dUp } = swigluBackward(memory.reals(dy), memory.reals(gate), memory.reals(up))
      return { dGate: memory.make(dGate, gate.shape, gate.dtype), dUp: memory.make(dUp, up.shape, up.dtype) }
    },

    add(a, b) {
      checkAdd(owner, a, b)
      return memory.make(add(memory.reals(a), memory.reals(b)), a.shape, a.dtype)
    },

    crossEntropy(input) {
      checkCrossEntropy(owner, input)
      return entropyOutput(crossEntropy(entropyArrays(input)), input.hidden.dtype)
    },

    crossEntropyBackward(input, dHead) {
      checkCrossEntropyBackward(owner, input, dHead)
      const result = crossEntropyBackward(entropyArrays(input))
      memory.accumulate(dHead, result.dHead)
      return { ...entropyOutput(result, input.hidden.dtype), dHidden: memory.make(result.dHidden, input.hidden.shape, input.hidden.dtype) }
    },

    gradientNorm(gradients, maxNorm) {
      checkGradientNorm(owner, gradients)
      const { norm, scale } = gradientNorm(
        gradients.map((gradient) => memory.reals(gradient)),
        maxNorm,
      )
      return memory.make([norm, scale], [2], 'f32')
    },

    adamw(parameters, control, norm, options) {
      checkAdamw(owner, parameters, control, norm)
      const [learningRate, meanCorrection, varianceCorrection] = memory.reals(control)
      const scale = memory.reals(norm)[1]
      // A norm that is not finite: the step is left out.
      if (scale === 0) return
      for (const { value, gradient, mean, variance, master, weightDecay } of parameters) {
        const arrays = {
          value: memory.reals(master ?? value),
          gradient: memory.reals(gradient),
          mean: memory.reals(mean),
          variance: memory.reals(variance),
          weightDecay,
        }
        const stepped = adamw(arrays, { learningRate, meanCorrection, varianceCorrection, scale }, options)
        memory.store(mean, stepped.mean)
        memory.store(variance, stepped.variance)
        if (master) memory.store(master, stepped.value)
        memory.store(value, master ? memory.reals(master) : stepped.value)
      }
    },

    sample(logits, control) {
      checkSample(owner, logits, control)
      const [rows, vocabulary] = logits.shape
      const controls = memory.reals(control)
      const drawn = Array.from({ length: rows }, (_, row) => {
        const [temperature, topK, topP, minP, uniform] = controls.subarray(row * 5, row * 5 + 5)
        const own = memory.reals(logits).subarray(row * vocabulary, (row + 1) * vocabulary)
        return sampleToken(own, { temperature, topK, topP, minP, uniform })
      })
      return memory.make(drawn, [rows], 'i32')
    },
  }
}
