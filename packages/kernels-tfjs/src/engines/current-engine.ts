import { BackendUnavailableError } from '@phsa/core'
import * as tf from '@tensorflow/tfjs-core'

/** The name of TensorFlow.js's current engine; undefined where nobody has set one and nothing was computed. */
export function currentEngine(): string | undefined {
  // Its type leaves out that it is undefined at first, and null once the current engine was removed.
  return (tf.getBackend() as string | undefined | null) ?? undefined
}

/** Whether TensorFlow.js holds a started engine of this name. */
export function isStarted(name: string): boolean {
  return name in tf.engine().registry
}

/** Waits for an engine that the user is starting right now: to start another one would overtake it. */
export async function userEngineStarted(): Promise<void> {
  const name = currentEngine()
  if (name === undefined || isStarted(name)) return
  try {
    await tf.ready()
  } catch {
    // The user's own call reports it. Whether ours works does not depend on it.
  }
}

/**
 * Takes a started engine out of TensorFlow.js, which then knows its factory only.
 * @param priority its rank in TensorFlow.js's own choice from now on
 */
export function unstart(name: string, priority: number): void {
  const factory = tf.findBackendFactory(name)
  tf.removeBackend(name)
  tf.registerBackend(name, factory, priority)
}

/**
 * Makes a started engine current, at once.
 * @throws BackendUnavailableError where TensorFlow.js does not hold it
 */
export function makeCurrent(name: string): void {
  if (!isStarted(name)) {
    throw new BackendUnavailableError(
      `the ${name} engine is no longer in TensorFlow.js (tf.removeBackend takes it out); make a new backend.`,
    )
  }
  switchTo(name)
}

/**
 * setBackend is asynchronous in its signature only: it switches before it returns when the engine is already started. It rejects where a kernel
 * cannot be set up; that kernel then fails where it is used, and an unhandled rejection would end the process.
 */
function switchTo(name: string): void {
  tf.setBackend(name).catch(() => undefined)
}

/** Where the user's engine is still starting, TensorFlow.js computes nothing, and to switch to and fro would start that engine again. */
function refuseWhileStarting(chosen: string | undefined): void {
  const { pendingBackendInit } = tf.engine() as unknown as { pendingBackendInit?: Promise<boolean> | null }
  if (!pendingBackendInit) return
  throw new BackendUnavailableError(
    `TensorFlow.js is starting its engine ${chosen}, and computes nothing meanwhile; await tf.ready() before this call.`,
  )
}

/**
 * Runs `body` with a started engine current, and the one that was current before afterwards; where there was none, this one stays.
 * @throws BackendUnavailableError where the engine is no longer in TensorFlow.js, and while the user is starting another one
 */
export function runWithEngine<T>(name: string, body: () => T): T {
  const chosen = currentEngine()
  if (chosen === name && isStarted(name)) return body()
  refuseWhileStarting(chosen)
  makeCurrent(name)
  try {
    return body()
  } finally {
    if (chosen !== undefined) switchTo(chosen)
  }
}
