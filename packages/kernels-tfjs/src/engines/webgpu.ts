import * as tf from '@tensorflow/tfjs-core'
import { isStarted, unstart } from './current-engine.js'
import type { EngineSource } from './engine-source.js'
import { freeingCanvases } from './freed-canvases.js'
import { importFailure } from './load-failure.js'

const NAME = 'webgpu'
const PRIORITY = 3
const PACKAGE = '@tensorflow/tfjs-backend-webgpu'

/** What its engine shows of itself: a GPUDevice. */
interface WebgpuEngine {
  readonly device: {
    readonly lost: Promise<{ readonly message: string }>
    createBuffer(descriptor: { readonly size: number; readonly usage: number }): { mapAsync(mode: number): Promise<void>; destroy(): void }
  }
}

/** `GPUBufferUsage.MAP_READ` and `GPUMapMode.READ`. */
const MAP_READ = 1

/** `navigator.gpu`, as far as it is asked here. */
interface Gpu {
  requestAdapter(): Promise<object | null>
}

/**
 * The engine of `@tensorflow/tfjs-backend-webgpu`, in a browser. TensorFlow.js reads a result synchronously by drawing its bytes to an OffscreenCanvas;
 * Node has none, with `navigator.gpu` (npm `webgpu`) or without.
 */
export const webgpu: EngineSource = {
  name: NAME,
  packageName: PACKAGE,
  registeredName: NAME,
  priority: PRIORITY,
  async load() {
    if (typeof OffscreenCanvas === 'undefined') {
      return 'runs in browsers only: TensorFlow.js reads its results through an OffscreenCanvas, which is not here'
    }
    const gpu = (globalThis as { navigator?: { gpu?: Gpu } }).navigator?.gpu
    if (!gpu) return 'there is no navigator.gpu: this browser has no WebGPU, or the page is not a secure context (https or localhost)'
    if (!(await gpu.requestAdapter())) return 'navigator.gpu has no adapter'
    try {
      await import('@tensorflow/tfjs-backend-webgpu')
    } catch (error) {
      return importFailure(PACKAGE, error)
    }
    // TensorFlow.js keeps an engine whose device is gone.
    if (isStarted(NAME)) await settled().catch(() => unstart(NAME, PRIORITY))
    return undefined
  },
  around: freeingCanvases,
  lost: async () => (await startedEngine().device.lost).message,
  settled,
}

/** A synchronous read of a lost device gives zeros. This read, queued after it, fails. */
async function settled(): Promise<void> {
  const buffer = startedEngine().device.createBuffer({ size: 4, usage: MAP_READ })
  await buffer.mapAsync(MAP_READ)
  buffer.destroy()
}

function startedEngine(): WebgpuEngine {
  return tf.findBackend(NAME) as unknown as WebgpuEngine
}
