import * as tf from '@tensorflow/tfjs-core'
import type { EngineSource } from './engine-source.js'
import { importFailure } from './load-failure.js'

/** Both packages register this name, so a process can hold one of them. */
const REGISTERED_NAME = 'tensorflow'

type NodeEngineName = 'node' | 'node-gpu'

/** What the engine of either package shows of itself. */
interface NodeEngine {
  readonly isGPUPackage: boolean
  readonly isUsingGpuDevice: boolean
}

/** The engine of `@tensorflow/tfjs-node` or `@tensorflow/tfjs-node-gpu`: libtensorflow in this process. */
export function tfjsNode(name: NodeEngineName): EngineSource {
  return {
    name,
    packageName: packageOf(name),
    registeredName: REGISTERED_NAME,
    priority: 3,
    async load() {
      if (!isNode()) return 'runs under Node only'
      // The user may have loaded it, from wherever it is. Loading the other package beside it would put the engine of one under the name of both.
      if (tf.findBackendFactory(REGISTERED_NAME) === null) {
        const failure = (await missingReason(name)) ?? (await loadFailure(name))
        if (failure !== undefined) return failure
      }
      return otherEngineReason(name)
    },
    place() {
      if (name === 'node' || startedEngine()?.isUsingGpuDevice) return ''
      return ' on the CPU, because it finds no GPU'
    },
  }
}

function packageOf(name: NodeEngineName): string {
  return `@tensorflow/tfjs-${name}`
}

function isNode(): boolean {
  return typeof process === 'object' && typeof process.versions?.node === 'string'
}

function startedEngine(): NodeEngine | undefined {
  const engine = tf.findBackend(REGISTERED_NAME) as unknown as Partial<NodeEngine> | null | undefined
  return typeof engine?.isGPUPackage === 'boolean' ? (engine as NodeEngine) : undefined
}

/** Why the engine that is registered is not the one that was asked for, if it is not. */
async function otherEngineReason(name: NodeEngineName): Promise<string | undefined> {
  const engine = startedEngine()
  if (!engine) return `TensorFlow.js has an engine ${REGISTERED_NAME} that is not of ${packageOf(name)}`
  const loaded = engine.isGPUPackage ? 'node-gpu' : 'node'
  if (loaded === name) return undefined
  return (await missingReason(name)) ?? `${packageOf(loaded)} is loaded in this process, which can hold one of the two`
}

/** Asks for a file without side effects, so that a package that is not there is told from one that does not load. */
async function missingReason(name: NodeEngineName): Promise<string | undefined> {
  try {
    await importHidden(`${packageOf(name)}/dist/version.js`)
    return undefined
  } catch (error) {
    return importFailure(packageOf(name), error)
  }
}

/** Loads the package, which registers its engine and makes it current. Returns the reason where it fails. */
async function loadFailure(name: NodeEngineName): Promise<string | undefined> {
  try {
    await importHidden(packageOf(name))
    return undefined
  } catch (error) {
    // A package that fails half-way has registered its kernels; the other one would warn about each of them.
    for (const { kernelName } of tf.getKernelsForBackend(REGISTERED_NAME)) tf.unregisterKernel(kernelName, REGISTERED_NAME)
    return importFailure(packageOf(name), error)
  }
}

/** Imports by a name that bundlers do not see: what is native and optional is not to be bundled. */
async function importHidden(file: string): Promise<void> {
  await import(/* @vite-ignore */ /* webpackIgnore: true */ file)
}
