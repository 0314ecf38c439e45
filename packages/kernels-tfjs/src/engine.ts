import { BackendUnavailableError } from '@phsa/core'
import * as tf from '@tensorflow/tfjs-core'

/** TensorFlow.js engines that this package runs on. */
export type EngineName = 'wasm' | 'cpu'

/** A started TensorFlow.js engine. */
export interface Engine {
  readonly name: EngineName
  /** For `AttentionBackend.device`. */
  readonly device: string
  /**
   * Runs `body` with this engine current. TensorFlow.js has one current engine for the whole process; where the user has set another one,
   * it is current again afterwards. `body` is synchronous, so no other code sees the change.
   */
  run<T>(body: () => T): T
}

/** In order of preference. */
const ENGINE_NAMES: readonly EngineName[] = ['wasm', 'cpu']

/**
 * Starts the engine that was asked for, or the first that works.
 * @throws BackendUnavailableError with the reason of each engine that was tried
 */
export async function openEngine(wanted: EngineName | 'auto'): Promise<Engine> {
  const names = wanted === 'auto' ? ENGINE_NAMES : ENGINE_NAMES.filter((name) => name === wanted)
  if (names.length === 0) {
    throw new BackendUnavailableError(`engine is ${JSON.stringify(wanted)}; kernels-tfjs takes auto, ${ENGINE_NAMES.join(' or ')}.`)
  }
  const reasons: string[] = []
  for (const name of names) {
    const reason = await start(name)
    if (reason === undefined) return { name, device: describe(name, reasons), run: (body) => runWith(name, body) }
    reasons.push(`${name}: ${reason}`)
  }
  throw new BackendUnavailableError(`no TensorFlow.js engine will do: ${reasons.join('; ')}`)
}

/** Loads and initialises an engine, and leaves the user's choice of engine as it was. Returns the reason where it does not work. */
async function start(name: EngineName): Promise<string | undefined> {
  const chosen = tf.getBackend() as string | undefined
  try {
    if (name === 'wasm') await import('@tensorflow/tfjs-backend-wasm')
    else await import('@tensorflow/tfjs-backend-cpu')
    if (await tf.setBackend(name)) return undefined
    return `TensorFlow.js could not start it${name === 'wasm' ? '; are its .wasm files where setWasmPaths says?' : ''}`
  } catch (error) {
    return error instanceof Error ? error.message : String(error)
  } finally {
    if (chosen && chosen !== name) await tf.setBackend(chosen)
  }
}

function runWith<T>(name: EngineName, body: () => T): T {
  const chosen = tf.getBackend() as string | undefined
  if (chosen === name) return body()
  // setBackend is asynchronous in its signature only: it switches before it returns when the engine is already initialised.
  void tf.setBackend(name)
  try {
    return body()
  } finally {
    if (chosen) void tf.setBackend(chosen)
  }
}

function describe(name: EngineName, reasons: readonly string[]): string {
  const device = `TensorFlow.js ${tf.version_core}, ${name} engine`
  return reasons.length === 0 ? device : `${device} (not ${reasons.join('; not ')})`
}
