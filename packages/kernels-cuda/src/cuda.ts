import type { CudaAttentionBackend } from './cuda-backend.js'
import { readKernelArchive } from './driver/kernel-archive.js'
import { openDriver } from './driver/open-driver.js'
import { openBackend } from './open-backend.js'

/** What `cuda` takes. */
export interface CudaOptions {
  /** Which GPU, as the driver counts them: after CUDA_VISIBLE_DEVICES, from 0. */
  readonly device?: number
}

/**
 * The backend for NVIDIA GPUs: attention in bf16 and f32, beside the event loop. `device` names the GPU and its driver.
 * @throws BackendUnavailableError where it cannot work, with the reason: no driver, a driver too old, no GPU, a GPU too old, kernels not built
 */
export async function cuda({ device = 0 }: CudaOptions = {}): Promise<CudaAttentionBackend> {
  return openBackend(await openDriver(), readKernelArchive(), device)
}
