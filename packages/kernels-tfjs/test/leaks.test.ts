import * as tf from '@tensorflow/tfjs-core'
import { describe, expect, test } from 'vitest'
import { tfjs } from '../src/index.js'
import { testedEngines } from './tested-engines.js'
import { decodingStep, trainingStep } from './training-step.js'

describe.each(testedEngines)('on %s', (engine) => {
  test('a hundred steps of training and decoding hold no more tensors than one, and learn', async () => {
    const backend = await tfjs({ engine })
    const { memory } = backend
    const [train, decode] = [trainingStep(backend), decodingStep(backend)]
    const losses: number[] = []
    const step = async () => {
      const [loss, sampled] = [train(), decode()]
      losses.push((await memory.download(loss))[0])
      for (const tensor of [loss, sampled]) tensor.dispose()
      return { engine: tf.memory().numTensors, bytes: tf.memory().numBytes, usage: memory.usage() }
    }
    const held = await step()
    for (let index = 0; index < 100; index++) expect(await step()).toEqual(held)
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
