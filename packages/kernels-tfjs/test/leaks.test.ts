import { attentionSpec, type ModelBackend, PackedLayout, phsaConfig, poolingWeights, RandomStream, uploadLayout } from '@phsa/core'
import * as tf from '@tensorflow/tfjs-core'
import { describe, expect, test } from 'vitest'
import { tfjs } from '../src/index.js'

const TOKENS = 70
const WIDTH = 16
const IDS = 11
const spec = attentionSpec(phsaConfig({ blockSize: 8, initTokens: 8, localTokens: 16, topK: 1 }), {
  heads: 2,
  kvHeads: 1,
  headDim: 8,
  dtype: 'f32',
})

/** A step of a model of one attention layer without norms, as a trainer makes it: forward, backward, update. */
function trainingStep(backend: ModelBackend) {
  const { attention, memory, ops } = backend
  const random = new RandomStream(3)
  const parameter = (rows: number) => {
    const shape = [rows, WIDTH]
    const value = memory.upload(
      Float32Array.from({ length: rows * WIDTH }, () => random.normal() * 0.3),
      shape,
    )
    const [gradient, mean, variance] = [0, 1, 2].map(() => memory.alloc(shape, 'f32'))
    return { value, gradient, mean, variance, weightDecay: 0 }
  }
  const [embedding, query, key, value] = [IDS, WIDTH, 8, 8].map(parameter)
  const parameters = [embedding, query, key, value]
  const packed = new PackedLayout([TOKENS - 20, 20], spec.blockSize)
  const layout = uploadLayout(memory, packed)
  const weights = { kind: 'fused', weights: memory.upload(poolingWeights(new Uint8Array(TOKENS), packed, 1), [TOKENS]) } as const
  const ids = memory.upload(
    Int32Array.from({ length: TOKENS }, () => random.below(IDS)),
    [TOKENS],
  )
  const lossWeights = memory.upload(new Float32Array(TOKENS).fill(1 / TOKENS), [TOKENS])
  const control = memory.upload(Float32Array.of(0.01, 0.1, 0.01), [3])

  return () =>
    memory.scope(() => {
      for (const { gradient } of parameters) memory.zero(gradient)
      const x = ops.embedding(embedding.value, ids)
      const q = memory.reshape(ops.linear(x, query.value), [TOKENS, 2, 8])
      const [k, v] = [key, value].map((weight) => memory.reshape(ops.linear(x, weight.value), [TOKENS, 1, 8]))
      const reps = attention.poolBlocks({ k, weights, layout, spec })
      const input = { q, k, v, selected: attention.selectBlocks({ q, reps, layout, spec }), layout, spec }
      const forward = attention.attend(input)
      const hidden = memory.reshape(forward.out, [TOKENS, WIDTH])
      const { loss, dHidden } = ops.crossEntropyBackward(
        { hidden, head: embedding.value, targets: ids, weights: lossWeights },
        embedding.gradient,
      )
      const { dq, dk, dv } = attention.attendBackward({ ...input, ...forward, dOut: memory.reshape(dHidden, q.shape) })
      const dx = ops.linearBackward(memory.reshape(dq, [TOKENS, WIDTH]), x, query.value, query.gradient)
      ops.linearBackward(memory.reshape(dk, [TOKENS, 8]), x, key.value, key.gradient, dx)
      ops.linearBackward(memory.reshape(dv, [TOKENS, 8]), x, value.value, value.gradient, dx)
      ops.embeddingBackward(dx, ids, embedding.gradient)
      const gradients = parameters.map(({ gradient }) => gradient)
      ops.adamw(parameters, control, ops.gradientNorm(gradients, 1), { beta1: 0.9, beta2: 0.99, epsilon: 1e-8 })
      return loss
    })
}

describe.each(['wasm', 'cpu'] as const)('on %s', (engine) => {
  test('a hundred training steps hold no more tensors than one, and learn', async () => {
    const backend = await tfjs({ engine })
    const { memory } = backend
    const step = trainingStep(backend)
    const first = step()
    const losses = [(await memory.download(first))[0]]
    first.dispose()
    const held = { engine: tf.memory().numTensors, bytes: tf.memory().numBytes, usage: memory.usage() }
    for (let index = 0; index < 100; index++) {
      const loss = step()
      losses.push((await memory.download(loss))[0])
      loss.dispose()
      expect({ engine: tf.memory().numTensors, bytes: tf.memory().numBytes, usage: memory.usage() }).toEqual(held)
    }
    expect(losses[100]).toBeLessThan(losses[0] / 2)
    backend.dispose()
    expect(tf.memory().numTensors).toBe(0)
    expect(memory.usage()).toEqual({ tensors: 0, bytes: 0 })
  })

  test("tensors outlive the user's tf.tidy", async () => {
    const backend = await tfjs({ engine })
    const { memory, ops } = backend
    let sum = memory.alloc([1], 'f32')
    tf.tidy(() => {
      const ones = memory.upload(Float32Array.of(1, 2, 3), [1, 3])
      sum = ops.add(ones, ones)
    })
    expect(await memory.download(sum)).toEqual(Float32Array.of(2, 4, 6))
    backend.dispose()
  })

  test('all views of a tensor see what is added to it', async () => {
    const backend = await tfjs({ engine })
    const { memory, ops } = backend
    const gradient = memory.alloc([2, 2], 'f32')
    const view = memory.reshape(gradient, [4])
    const x = memory.upload(Float32Array.of(1, 2), [1, 2])
    for (let times = 0; times < 2; times++) ops.linearBackward(x, x, memory.alloc([2, 2], 'f32'), gradient)
    gradient.dispose()
    expect(await memory.download(view)).toEqual(Float32Array.of(2, 4, 4, 8))
    backend.dispose()
  })
})
