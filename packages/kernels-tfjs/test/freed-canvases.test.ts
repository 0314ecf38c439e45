import { MathBackendCPU } from '@tensorflow/tfjs-backend-cpu'
import * as tf from '@tensorflow/tfjs-core'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { phsaAttention } from '../src/index.js'

const NAME = 'drawing'

/** Passes for a browser's. */
class Canvas {
  static readonly made: Canvas[] = []
  width: number
  height: number

  constructor(width: number, height: number) {
    this.width = width
    this.height = height
    Canvas.made.push(this)
  }
}

/** Reads as TensorFlow.js's webgpu engine does: through a canvas, which it leaves to the garbage collector. */
class DrawingEngine extends MathBackendCPU {
  override readSync(dataId: object) {
    new OffscreenCanvas(8, 8)
    return super.readSync(dataId)
  }
}

beforeAll(async () => {
  vi.stubGlobal('OffscreenCanvas', Canvas)
  tf.registerBackend(NAME, () => new DrawingEngine())
  for (const kernel of tf.getKernelsForBackend('cpu')) tf.registerKernel({ ...kernel, backendName: NAME })
  await tf.setBackend(NAME)
})
afterAll(() => {
  tf.removeBackend(NAME)
  vi.unstubAllGlobals()
})

test('the operation and its gradient free every canvas that their reads make', () => {
  tf.tidy(() => {
    const x = tf.ones<tf.Rank.R4>([2, 12, 2, 4])
    const options = { blockSize: 4, initTokens: 4, localTokens: 4, punctuation: tf.ones([2, 12]), lengths: tf.tensor1d([12, 5]) }
    tf.grad((x) => phsaAttention(x as tf.Tensor4D, x as tf.Tensor4D, x as tf.Tensor4D, options))(x)
  })
  expect(Canvas.made.length).toBeGreaterThan(8)
  expect(Canvas.made.filter(({ width, height }) => width > 0 || height > 0)).toHaveLength(0)
  expect(globalThis.OffscreenCanvas).toBe(Canvas)
})
