import type { ModelBackend } from '@phsa/core'
import { cuda } from '@phsa/kernels-cuda'
import { type WebgpuModelBackend, webgpu } from '@phsa/kernels-webgpu'

/** A backend that is measured. */
export interface Engine {
  readonly name: 'webgpu' | 'cuda'
  readonly backend: ModelBackend
  /** The type of 16 bits that it computes in, or f32 where it has none. */
  readonly dtype: 'f32' | 'f16' | 'bf16'
  /** Resolves when everything that is queued is done. */
  finish(): Promise<void>
}

/** WebGPU of Dawn. @throws BackendUnavailableError */
export async function webgpuEngine(dawnFlags: readonly string[]): Promise<Engine & { readonly backend: WebgpuModelBackend }> {
  const backend = await webgpu({ powerPreference: 'high-performance', dawnFlags })
  return {
    name: 'webgpu',
    backend,
    dtype: backend.limits.dtypes.includes('f16') ? 'f16' : 'f32',
    async finish() {
      backend.flush()
      await backend.gpuDevice.queue.onSubmittedWorkDone()
    },
  }
}

/** CUDA in the same process. @throws BackendUnavailableError */
export async function cudaEngine(): Promise<Engine> {
  const backend = await cuda()
  const last = backend.memory.alloc([1], 'f32')
  return {
    name: 'cuda',
    backend,
    dtype: 'bf16',
    async finish() {
      await backend.memory.download(last)
    },
  }
}
