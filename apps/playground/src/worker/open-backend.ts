import { type AttentionSpec, BackendUnavailableError, firstSupported, type ModelBackend } from '@phsa/core'
import { webgpu } from '@phsa/kernels-webgpu'
import type { Place } from '../lab-contract.js'

/**
 * The visitor's GPU where WebGPU has one, else the CPU through TensorFlow.js.
 * @param place insists on one of them
 * @throws BackendUnavailableError with the reasons
 */
export async function openBackend(spec: AttentionSpec, place: Place | undefined): Promise<ModelBackend> {
  const factories = { webgpu: () => openGpu(place === 'webgpu'), wasm: openWasm }
  return firstSupported<ModelBackend>(spec, place ? [factories[place]] : [factories.webgpu, factories.wasm])
}

/** A software adapter computes on the CPU too, and slower: it must be asked for. */
async function openGpu(takesSoftware: boolean): Promise<ModelBackend> {
  const backend = await webgpu({ powerPreference: 'high-performance' })
  if (takesSoftware || !backend.gpuDevice.adapterInfo?.isFallbackAdapter) return backend
  backend.dispose()
  throw new BackendUnavailableError('WebGPU of this browser has a software adapter only.')
}

/** Loaded only where it is needed. */
async function openWasm(): Promise<ModelBackend> {
  const { openTfjs } = await import('./open-tfjs.js')
  return openTfjs()
}
