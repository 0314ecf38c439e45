import type { EngineSource } from './engine-source.js'
import { tfjsNode } from './tfjs-node.js'
import { webgpu } from './webgpu.js'

const wasm: EngineSource = {
  name: 'wasm',
  packageName: '@tensorflow/tfjs-backend-wasm',
  registeredName: 'wasm',
  priority: 2,
  async load() {
    await import('@tensorflow/tfjs-backend-wasm')
    return undefined
  },
}

const cpu: EngineSource = {
  name: 'cpu',
  packageName: '@tensorflow/tfjs-backend-cpu',
  registeredName: 'cpu',
  priority: 1,
  async load() {
    await import('@tensorflow/tfjs-backend-cpu')
    return undefined
  },
}

/** Every engine of this package. */
export const engineSources: readonly EngineSource[] = [tfjsNode('node-gpu'), tfjsNode('node'), wasm, cpu, webgpu]
