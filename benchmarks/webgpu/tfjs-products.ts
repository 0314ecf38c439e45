import * as tf from '@tensorflow/tfjs-core'

/** A product on TensorFlow.js's webgpu engine. */
export interface TfjsProduct {
  multiply(): void
  read(): Promise<Float32Array>
  /** Resolves when everything that is queued is done. */
  finish(): Promise<void>
  dispose(): void
}

/**
 * TensorFlow.js's webgpu engine under Node: it wants `navigator.gpu` and no canvas, as long as results are read asynchronously.
 * @throws Error where the engine does not start
 */
export async function openTfjs(dawnFlags: readonly string[]) {
  // A name that bundlers do not follow: it is native code.
  const name = 'webgpu'
  const { create }: typeof import('webgpu') = await import(name)
  const gpu = create([...dawnFlags])
  // Its own object: it is collected with the process, and taking it down before takes the process with it.
  Object.defineProperty(globalThis, 'navigator', { value: { gpu, userAgent: 'Node' }, configurable: true })
  await import('@tensorflow/tfjs-backend-webgpu')
  if (!(await tf.setBackend('webgpu'))) throw new Error('TensorFlow.js does not start its webgpu engine')
  return {
    product({ x, w }: { readonly x: Float32Array; readonly w: Float32Array }, size: number): TfjsProduct {
      const [left, right] = [tf.tensor2d(x, [size, size]), tf.tensor2d(w, [size, size])]
      const product = () => tf.matMul(left, right, false, true)
      let last = tf.scalar(0) as tf.Tensor
      const keep = (result: tf.Tensor) => {
        last.dispose()
        last = result
      }
      return {
        multiply: () => keep(product()),
        async read() {
          const result = product()
          const values = await result.data<'float32'>()
          result.dispose()
          return values
        },
        // The engine submits when something is read: one element, made by the last product.
        async finish() {
          const one = tf.tidy(() => tf.slice(tf.reshape(last, [-1]), [0], [1]))
          await one.data()
          one.dispose()
        },
        dispose: () => tf.dispose([left, right, last]),
      }
    },
  }
}
