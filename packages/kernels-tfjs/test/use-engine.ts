import * as tf from '@tensorflow/tfjs-core'
import { type EngineName, tfjs } from '../src/index.js'

/** Makes an engine TensorFlow.js's current one, as its user would, and returns the name that it has there. */
export async function useEngine(engine: EngineName): Promise<string> {
  const backend = await tfjs({ engine })
  backend.dispose()
  const name = engine.startsWith('node') ? 'tensorflow' : engine
  await tf.setBackend(name)
  return name
}
