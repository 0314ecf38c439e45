import { setImmediate as turn } from 'node:timers/promises'
import {
  type Attention,
  type AttentionSpec,
  type BackendLimits,
  type BackendLostError,
  type CapturedStep,
  CONTRACT_VERSION,
  type Collective,
  checkSpec,
  type ModelBackend,
  type ModelOps,
  type PagedAttention,
  type Support,
  validSpec,
} from '@phsa/core'
import { attentionSupport } from './attention/attention-support.js'
import { cudaAttention } from './attention/cuda-attention.js'
import { captureStep } from './capture-step.js'
import { type GroupJoin, type OpenCollective, openCollective } from './collective/open-collective.js'
import type { Device } from './driver/device.js'
import { capabilityText, cudaVersion } from './driver/find-device.js'
import { CudaMemory } from './memory/cuda-memory.js'
import { cudaOps } from './ops/cuda-ops.js'
import { cudaDecodeLayers } from './paged/cuda-decode-layers.js'
import { cudaPaged } from './paged/cuda-paged.js'
import type { MatrixProducts } from './products/matrix-product.js'
import { type CublasLtSource, openProducts } from './products/open-products.js'
import { type QueueTimer, queueTimer } from './queue-timer.js'

/** What the driver says of the GPU's memory, whoever takes it. */
export interface DeviceMemory {
  readonly freeBytes: number
  readonly totalBytes: number
}

/** A `ModelBackend` that can be measured: what a benchmark of a GPU needs besides. */
export interface CudaModelBackend extends ModelBackend {
  /** Always there. */
  capture<T>(step: () => T): Promise<CapturedStep<T>>
  /** Times what is queued. The caller disposes it, before the backend. */
  createTimer(): QueueTimer
  deviceMemory(): DeviceMemory
}

/** `ModelBackend` on one NVIDIA GPU. */
export class CudaBackend implements CudaModelBackend {
  readonly contractVersion = CONTRACT_VERSION
  readonly name = 'cuda'
  readonly device: string
  readonly limits: BackendLimits = { dtypes: ['f32', 'bf16'], blocking: false }
  readonly memory: CudaMemory
  readonly attention: Attention
  readonly paged: PagedAttention
  readonly ops: ModelOps
  readonly decodeLayers: ModelBackend['decodeLayers']
  readonly lost: Promise<BackendLostError>
  readonly #device: Device
  readonly #products: MatrixProducts
  #group: OpenCollective | undefined

  /** @param cublasLt where the library of matrix products comes from, at the first product @param persistentDecode as of `CudaOptions` */
  constructor(device: Device, cublasLt: CublasLtSource, persistentDecode = false) {
    const { name, computeCapability, totalBytes, driverVersion } = device.info
    this.device = `${name}, compute capability ${capabilityText(computeCapability)}, ${(totalBytes / 2 ** 30).toFixed(1)} GiB, driver for CUDA ${cudaVersion(driverVersion)}`
    this.#device = device
    this.lost = device.lost
    this.memory = new CudaMemory(device, this)
    this.attention = cudaAttention(device, this.memory)
    this.paged = cudaPaged(device, this.memory)
    this.decodeLayers = persistentDecode ? cudaDecodeLayers(device, this.memory) : undefined
    this.#products = openProducts(device, this.memory, cublasLt)
    this.ops = cudaOps(device, this.memory, this.#products)
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

  /** Of a backend that has joined a group. */
  get collective(): Collective | undefined {
    return this.#group?.collective
  }

  /** Joins a group of processes; see `openCollective`. */
  async join(group: GroupJoin): Promise<void> {
    this.#group = await openCollective(this.#device, this.memory, group)
  }

  /** Records a step as a CUDA graph: one call of the driver replays it. */
  capture<T>(step: () => T): Promise<CapturedStep<T>> {
    return captureStep(this.#device, this.memory, step)
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
    this.#device.capture.checkNotRecording('the dispose of the backend')
    try {
      this.#products.close()
    } finally {
      this.memory.close(this.#group && (() => this.#group!.close()))
    }
  }
}
