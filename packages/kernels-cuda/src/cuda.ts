import { type CollectiveOptions, environmentPlace, groupPlace } from './collective/group-place.js'
import type { CudaModelBackend } from './cuda-backend.js'
import { readKernelArchive } from './driver/kernel-archive.js'
import { openDriver } from './driver/open-driver.js'
import { openBackend } from './open-backend.js'
import type { CublasLtSource } from './products/open-products.js'

/** What `cuda` takes. */
export interface CudaOptions {
  /** Which GPU, as the driver counts them: after CUDA_VISIBLE_DEVICES, from 0. */
  readonly device?: number
  /**
   * NVIDIA's cuBLASLt: the file, or a folder that it is in. `false` does without it. Where it is not given it is looked for, first at the place that the
   * variable PHSA_CUBLASLT names.
   */
  readonly cublasLt?: string | false
  /**
   * This process's place in a group that trains in parallel, for `backend.collective`; `cuda` resolves when all are there. `'environment'` takes it, and
   * the GPU where none is given, from what torchrun and Kubernetes set: see `environmentPlace`.
   */
  readonly collective?: CollectiveOptions | 'environment'
  /** NVIDIA's NCCL for groups of several: the file, or a folder that it is in. Default: the place that the variable PHSA_NCCL names, or the system's. */
  readonly nccl?: string
  /**
   * One launch for all layers of a step of decoding, `backend.decodeLayers`: one token of one sequence in bf16, at most 4,096 keys, block size 16, on a GPU like
   * an H100, for models of Qwen3-0.6B's widths. Off by default until it has been measured: it has run in the emulation of a GPU only, never on one.
   */
  readonly persistentDecode?: boolean
}

/**
 * The backend for NVIDIA GPUs: attention and the ops of whole models in bf16 and f32, beside the event loop. `device` names the GPU and its driver.
 * @throws BackendUnavailableError where it cannot work, with the reason: no driver, a driver too old, no GPU, a GPU too old, kernels not built, no cuBLASLt
 * where `cublasLt` says, no NCCL, a rank of the group that is missing
 * @throws InvalidConfigError for a place in a group that is none
 */
export async function cuda({ device, cublasLt, collective, nccl, persistentDecode }: CudaOptions = {}): Promise<CudaModelBackend> {
  const group =
    collective && (collective === 'environment' ? environmentPlace(process.env) : { place: groupPlace(collective), localRank: undefined })
  const ordinal = device ?? group?.localRank ?? 0
  const backend = openBackend(await openDriver(), readKernelArchive(), ordinal, await cublasLtSource(cublasLt), persistentDecode)
  if (!group) return backend
  try {
    // It calls through koffi too.
    const { findNccl } = await import('./driver/find-nccl.js')
    await backend.join({ place: group.place, findNccl: () => findNccl(nccl) })
    return backend
  } catch (error) {
    backend.dispose()
    throw error
  }
}

async function cublasLtSource(place: string | false | undefined): Promise<CublasLtSource> {
  if (place === false) return false
  // It calls through koffi, which the driver has shown to load.
  const { findCublasLt, PLACE_VARIABLE } = await import('./driver/find-cublas-lt.js')
  if (!place && !process.env[PLACE_VARIABLE]) return () => findCublasLt(undefined)
  const library = findCublasLt(place)
  return () => library
}
