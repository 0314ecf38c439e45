import { setImmediate as turn } from 'node:timers/promises'
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
import { type QueueTimer, queueTimer } from './queue-timer.js'

/** What the driver says of the GPU's memory, whoever takes it. */
export interface DeviceMemory {
  readonly freeBytes: number
  readonly totalBytes: number
}

/** An `AttentionBackend` that can be measured: what a benchmark of a GPU needs besides. */
export interface CudaAttentionBackend extends AttentionBackend {
  /** Times what is queued. The caller disposes it, before the backend. */
  createTimer(): QueueTimer
  deviceMemory(): DeviceMemory
}

/** `AttentionBackend` on one NVIDIA GPU. */
export class CudaBackend implements CudaAttentionBackend {
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

  /** Loads all kernels, whatever the specs; the event loop goes on between source files, which PTX takes long for. */
  async prepare(specs: readonly AttentionSpec[]): Promise<void> {
    this.memory.checkOpen()
    for (const spec of specs) checkSpec(this.memory.owner, spec)
    while (this.#device.loadNextKernels()) await turn()
  }

  createTimer(): QueueTimer {
    this.memory.checkOpen()
    return queueTimer(this.#device)
  }

  deviceMemory(): DeviceMemory {
    this.memory.checkOpen()
    const { free, total } = this.#device.memoryInfo()
    return { freeBytes: free, totalBytes: total }
  }

  dispose(): void {
    this.memory.close()
  }
}
