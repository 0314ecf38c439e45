import * as tf from '@tensorflow/tfjs-core'
import { currentEngine, isStarted, makeCurrent, runWithEngine, unstart, userEngineStarted } from './current-engine.js'
import type { EngineSource } from './engine-source.js'
import { startFailure } from './load-failure.js'

/**
 * Loads and starts an engine and lets it compute something. An engine that is current for the user stays current; where there is none, this one
 * becomes it if it works. Returns the reason, a short one, where it does not.
 */
export async function startEngine(source: EngineSource): Promise<string | undefined> {
  await userEngineStarted()
  const chosen = currentEngine()
  const reason = await reasonAgainst(source)
  const current = currentEngine()
  if (current === undefined && reason === undefined) makeCurrent(source.registeredName)
  // The package may have made itself current: tfjs-node does when it is loaded.
  if (current === source.registeredName && chosen !== current) {
    if (chosen !== undefined && isStarted(chosen)) makeCurrent(chosen)
    // Out of TensorFlow.js's own choice; it stays known, so that a second try says the same.
    else if (reason !== undefined) unstart(source.registeredName, 0)
  }
  return reason
}

async function reasonAgainst(source: EngineSource): Promise<string | undefined> {
  try {
    const refused = await source.load()
    if (refused !== undefined) return refused
    await initialise(source)
    return runWithEngine(source.registeredName, wrongProduct)
  } catch (error) {
    return startFailure(source.packageName, error)
  }
}

/**
 * Calls the engine's factory, without making the engine current while that takes its time: `tf.setBackend` would, and whatever the user
 * computed meanwhile would fail.
 */
async function initialise({ registeredName, priority }: EngineSource): Promise<void> {
  if (isStarted(registeredName)) return
  const factory = tf.findBackendFactory(registeredName) as (() => tf.KernelBackend | Promise<tf.KernelBackend>) | null
  if (!factory) throw new Error(`tf.removeBackend has taken ${registeredName} out of TensorFlow.js`)
  const instance = await factory()
  if (isStarted(registeredName)) {
    // Somebody else was faster, and may have tensors there.
    instance.dispose()
    return
  }
  // Whoever takes the engine out and registers it again by its factory gets a new one.
  let made: tf.KernelBackend | undefined = instance
  const hand = () => {
    const next = made ?? factory()
    made = undefined
    return next
  }
  tf.removeBackend(registeredName)
  tf.registerBackend(registeredName, hand, priority)
  tf.findBackend(registeredName)
}

/** A small matrix product; some engines load well, and fail at the first computation. */
function wrongProduct(): string | undefined {
  const product = tf.tidy(() => {
    const x = tf.tensor2d([1, 2, 3, 4], [2, 2])
    return [...tf.matMul(x, x).dataSync()]
  })
  return product.join() === '7,10,15,22' ? undefined : `it computes wrongly: [1 2; 3 4] squared is ${product.join(' ')}`
}
