import { UnsupportedError } from '@phsa/core'
import * as tf from '@tensorflow/tfjs-core'
import type { Engine } from '../engine.js'
import { currentEngine } from '../engines/current-engine.js'
import { freeingCanvases } from '../engines/freed-canvases.js'

/** Engines whose elements lie in the process's memory. */
const HOST_ENGINES: readonly (string | undefined)[] = ['wasm', 'cpu', 'tensorflow']

/**
 * The engine that is current, as it is: nothing is started or switched.
 * @throws UnsupportedError where its results cannot be read within a call, as on webgpu outside of a browser
 */
export function readableEngine(): Pick<Engine, 'device' | 'run'> {
  const name = currentEngine()
  const device = `TensorFlow.js ${tf.version_core}, ${name} engine`
  if (HOST_ENGINES.includes(name)) return { device, run: (body) => body() }
  freeingCanvases(() => checkReadable(name))
  return { device, run: freeingCanvases }
}

function checkReadable(name: string | undefined): void {
  try {
    tf.tidy(() => tf.square(tf.scalar(1)).dataSync())
  } catch (error) {
    throw new UnsupportedError(
      'engine',
      `phsaAttention chooses blocks on the host, and TensorFlow.js's current engine, ${name}, cannot be read synchronously here (${error}). Set another one with tf.setBackend: wasm, cpu, or tensorflow from tfjs-node.`,
    )
  }
}
