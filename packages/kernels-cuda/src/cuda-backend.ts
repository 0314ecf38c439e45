import {
  type Attention,
  type AttentionBackend,
  type AttentionSpec,
  type BackendLimits,
  type BackendLostError,
  CONTRACT_VERSION,
  checkSpec,
  type PagedAttention,
  type Support,
  validSpec,
} from '@phsa/core'
import { attentionSupport } from './attention/attention-support.js'
import { cudaAttention } from './attention/cuda-attention.js'
import type { Device } from './driver/device.js'
import { capabilityText, cudaVersion } from './driver/find-device.js'
import { CudaMemory } from './memory/cuda-memory.js'
import { cudaPaged } from './paged/cuda-paged.js'

/** `AttentionBackend` on one NVIDIA GPU. */
export class CudaBackend implements AttentionBackend {
  readonly contractVersion = CONTRACT_VERSION
  readonly name = 'cuda'
  readonly device: string
  readonly limits: BackendLimits = { dtypes: ['f32', 'bf16'], blocking: false }
  readonly memory: CudaMemory
  readonly attention: Attention
  readonly paged: PagedAttention
  readonly lost: Promise<BackendLostError>
  readonly #device: Device

  constructor(device: Device) {
    const { name, computeCapability, totalBytes, driverVersion } = device.info
    this.device = `${name}, compute capability ${capabilityText(computeCapability)}, ${(totalBytes / 2 ** 30).toFixed(1)} GiB, driver for CUDA ${cudaVersion(driverVersion)}`
    this.#device = device
    this.lost = device.lost
    this.memory = new CudaMemory(device, this)
    this.attention = cudaAttention(device, this.memory)
    this.paged = cudaPaged(device, this.memory)
  }

  supports(spec: AttentionSpec): Support {
    const valid = validSpec(spec, this.limits.dtypes)
    return valid.ok ? attentionSupport(spec) : valid
  }

  /** Loads all kernels, whatever the specs. */
  async prepare(specs: readonly AttentionSpec[]): Promise<void> {
    this.memory.checkOpen()
    for (const spec of specs) checkSpec(this.memory.owner, spec)
    this.#device.loadKernels()
  }

  dispose(): void {
    this.memory.close()
  }
}
