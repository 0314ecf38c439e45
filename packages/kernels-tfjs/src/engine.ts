import { BackendUnavailableError } from '@phsa/core'
import * as tf from '@tensorflow/tfjs-core'
import { runWithEngine } from './engines/current-engine.js'
import type { EngineSource } from './engines/engine-source.js'
import { engineSources } from './engines/engine-sources.js'
import { NOT_INSTALLED } from './engines/load-failure.js'
import { startEngine } from './engines/start-engine.js'

/** TensorFlow.js engines that this package runs on. */
export type EngineName = 'node-gpu' | 'node' | 'wasm' | 'cpu' | 'webgpu'

/** A started TensorFlow.js engine. */
export interface Engine {
  readonly name: EngineName
  /** For `AttentionBackend.device`. */
  readonly device: string
  /**
   * Runs `body` with this engine current. TensorFlow.js has one current engine for the whole process; where the user has set another one,
   * it is current again afterwards. `body` is synchronous, so no other code sees the change.
   * @throws BackendUnavailableError where the engine has been taken out of TensorFlow.js since it started, and while the user is starting another
   */
  run<T>(body: () => T): T
  /** Settles with the reason when the engine's device is gone; never where it computes in this process. */
  readonly lost?: Promise<string>
  /** Rejects where the device is gone, and what was read from it since may be wrong. */
  settled?(): Promise<void>
}

/**
 * What `auto` tries, fastest at matrix products first; decoding one sequence is faster on wasm than on node. Not webgpu: attention here goes
 * back and forth between host and engine, and that engine's way back is a canvas; it wants kernels of its own, in a package of their own.
 */
const AUTO_ORDER: readonly EngineName[] = ['node-gpu', 'node', 'wasm', 'cpu']

/** An engine that did not start. */
interface Refusal {
  readonly name: EngineName
  readonly reason: string
}

/**
 * Starts the engine that was asked for, or for `auto` the first that works.
 * @throws BackendUnavailableError with the reason of each engine that was tried
 */
export async function openEngine(wanted: EngineName | 'auto'): Promise<Engine> {
  const refusals: Refusal[] = []
  for (const name of wanted === 'auto' ? AUTO_ORDER : [wanted]) {
    const source = engineSources.find((each) => each.name === name)
    if (!source) {
      const known = engineSources.map((each) => each.name).join(', ')
      throw new BackendUnavailableError(`engine is ${JSON.stringify(wanted)}; kernels-tfjs takes auto, ${known}.`)
    }
    const reason = await startEngine(source)
    if (reason === undefined) return engineOf(source, refusals)
    if (wanted !== 'auto') throw new BackendUnavailableError(refusalText(source, reason))
    refusals.push({ name, reason })
  }
  throw new BackendUnavailableError(`no TensorFlow.js engine works here: ${reasonsText(refusals)}.`)
}

function engineOf(source: EngineSource, refusals: readonly Refusal[]): Engine {
  const { name, registeredName, around, settled } = source
  const others = refusals.length === 0 ? '' : ` (${reasonsText(refusals)})`
  return {
    name,
    device: `TensorFlow.js ${tf.version_core}, ${name} engine${source.place?.() ?? ''}${others}`,
    run: (body) => runWithEngine(registeredName, around ? () => around(body) : body),
    lost: source.lost?.(),
    settled: settled && (() => runWithEngine(registeredName, settled)),
  }
}

function refusalText({ name, packageName }: EngineSource, reason: string): string {
  const remedy = reason === NOT_INSTALLED ? `Install ${packageName}@${tf.version_core}, or take` : 'Take'
  return `TensorFlow.js engine ${name}: ${reason}. ${remedy} engine auto.`
}

/** `not node-gpu, node: not installed; not wasm: ...` */
function reasonsText(refusals: readonly Refusal[]): string {
  const reasons = [...new Set(refusals.map(({ reason }) => reason))]
  return reasons
    .map((reason) => {
      const names = refusals.filter((each) => each.reason === reason).map(({ name }) => name)
      return `not ${names.join(', ')}: ${reason}`
    })
    .join('; ')
}
