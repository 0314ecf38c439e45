import { isPhsaError, type PhsaError } from '@phsa/core'
import { MathBackendCPU } from '@tensorflow/tfjs-backend-cpu'
import * as tf from '@tensorflow/tfjs-core'
// Registers the gradients of TensorFlow.js's own operations.
import '@tensorflow/tfjs-layers'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { type PhsaAttentionOptions, phsaAttention } from '../src/index.js'

const SETTINGS = { blockSize: 4, initTokens: 4, localTokens: 4, topK: 1 }

/** The error of a call; a call that succeeds fails the test. */
function errorOf(call: () => unknown): PhsaError {
  try {
    tf.tidy(() => void call())
  } catch (error) {
    if (isPhsaError(error)) return error
    throw error
  }
  throw new Error('nothing was thrown')
}

const q = () => tf.ones<tf.Rank.R4>([2, 12, 4, 8])
const k = () => tf.ones<tf.Rank.R4>([2, 12, 2, 8])
const attend = (options: PhsaAttentionOptions) => () => phsaAttention(q(), k(), k(), { ...SETTINGS, ...options })
function disposed<T extends tf.Tensor>(tensor: T): T {
  tensor.dispose()
  return tensor
}

beforeAll(async () => {
  await tf.setBackend('cpu')
})

describe('what is refused, and leaves nothing behind', () => {
  afterEach(() => {
    expect(tf.memory().numTensors).toBe(0)
  })

  test.each<[string, string, () => unknown]>([
    [
      'shape',
      'q has shape [2, 12, 32]; phsaAttention takes [batch, length',
      () => phsaAttention(tf.ones([2, 12, 32]) as tf.Tensor as tf.Tensor4D, k(), k()),
    ],
    ['shape', 'k is int32; phsaAttention takes float32', () => phsaAttention(q(), tf.ones([2, 12, 2, 8], 'int32'), k())],
    ['shape', 'v is no tf.Tensor', () => phsaAttention(q(), k(), [[1]] as unknown as tf.Tensor4D)],
    [
      'shape',
      'k has shape [2, 11, 2, 8]; with this q and k it must be [2, 12, 2, 8]',
      () => phsaAttention(q(), tf.ones([2, 11, 2, 8]), k()),
    ],
    ['shape', 'v has shape [2, 12, 4, 8]; with this q and k it must be [2, 12, 2, 8]', () => phsaAttention(q(), k(), q())],
    [
      'invalid-config',
      'heads is 4; it must be a multiple of kvHeads, which is 3',
      () => phsaAttention(q(), tf.ones([2, 12, 3, 8]), tf.ones([2, 12, 3, 8])),
    ],
    ['disposed', 'v [2, 12, 2, 8] is disposed', () => phsaAttention(q(), k(), disposed(k()))],
    ['shape', 'lengths[1] is 13; rows have 12 tokens', attend({ lengths: [12, 13] })],
    ['shape', 'lengths[0] is 2.5', attend({ lengths: [2.5, 1] })],
    ['shape', 'lengths has 3 values for a batch of 2', attend({ lengths: [1, 2, 3] })],
    ['shape', 'punctuation has 12 values; it must be [batch, length], here [2, 12]', attend({ punctuation: new Uint8Array(12) })],
    ['shape', 'punctuation has shape [12, 2]; it must be [batch, length], here [2, 12]', () => attend({ punctuation: tf.ones([12, 2]) })()],
    ['disposed', 'lengths [2] is disposed', () => attend({ lengths: disposed(tf.ones([2])) })()],
    ['disposed', 'punctuation [2, 12] is disposed', () => attend({ punctuation: disposed(tf.ones([2, 12])) })()],
    ['invalid-config', 'localTokens is 6; it must be a multiple of blockSize, which is 4', attend({ localTokens: 6 })],
    ['invalid-config', 'lambda has 3 values for layer 0; give one for each of its 2 KV heads', attend({ lambda: [0, 0.5, 1] })],
    ['invalid-config', 'topk is not a PHSA setting', attend({ topk: 4 } as PhsaAttentionOptions)],
  ])('%s: %s', (code, message, call) => {
    const error = errorOf(call)
    expect(error.message).toContain(message)
    expect(error.code).toBe(code)
  })
})

test('the gradient of its gradient', () => {
  const [keys, values] = [k(), k()]
  const first = tf.grad((x) => phsaAttention(x as tf.Tensor4D, keys, values, SETTINGS))
  const second = tf.grad((x) => tf.sum(tf.square(first(x))))
  expect(errorOf(() => second(q()))).toMatchObject({ code: 'unsupported', feature: 'second-gradient' })
})

describe('an engine that cannot be read synchronously', () => {
  class Unreadable extends MathBackendCPU {
    override readSync(): never {
      throw new Error('no canvas here')
    }
  }

  beforeAll(async () => {
    tf.registerBackend('unreadable', () => new Unreadable())
    for (const kernel of tf.getKernelsForBackend('cpu')) tf.registerKernel({ ...kernel, backendName: 'unreadable' })
    await tf.setBackend('unreadable')
  })
  afterAll(async () => {
    await tf.setBackend('cpu')
    for (const { kernelName } of tf.getKernelsForBackend('unreadable')) tf.unregisterKernel(kernelName, 'unreadable')
    tf.removeBackend('unreadable')
  })

  test('is refused with the reason and the remedy', () => {
    const error = errorOf(attend({}))
    expect(error).toMatchObject({ code: 'unsupported', feature: 'engine' })
    expect(error.message).toMatch(
      /current engine, unreadable, cannot be read synchronously here \(Error: no canvas here\)\. Set another one/,
    )
  })
})
