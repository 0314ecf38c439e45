import {
  type Attention,
  type AttentionSpec,
  type BackendLimits,
  type BackendLostError,
  type CapturedStep,
  CONTRACT_VERSION,
  checkSpec,
  type DType,
  type ModelBackend,
  type ModelOps,
  type PagedAttention,
  type Support,
  type Tensor,
  validSpec,
} from '@phsa/core'
import { attentionSupport } from './attention/attention-support.js'
import { sampleOf } from './attention/sample-problem.js'
import { SequenceNumbers } from './attention/sequence-numbers.js'
import { webgpuAttention } from './attention/webgpu-attention.js'
import { captureStep } from './capture-step.js'
import type { GpuDevice } from './device/gpu-device.js'
import { WebgpuMemory } from './memory/webgpu-memory.js'
import { webgpuOps } from './ops/webgpu-ops.js'
import { webgpuPaged } from './paged/webgpu-paged.js'

/** A `ModelBackend` that shares its device with other WebGPU code. */
export interface WebgpuModelBackend extends ModelBackend {
  /** The device that everything runs on. */
  readonly gpuDevice: GPUDevice
  /** Always there. */
  capture<T>(step: () => T): Promise<CapturedStep<T>>
  /**
   * A tensor over an existing buffer, without a copy. The buffer has usages STORAGE, COPY_SRC and COPY_DST and is not mapped; it stays the caller's, who destroys it
   * after the tensor's last use. Work that the caller submits itself runs before what is queued here but not yet submitted: `flush` first.
   * @throws ShapeError for a buffer that is too small or lacks a usage
   */
  wrap(buffer: GPUBuffer, shape: readonly number[], dtype: DType): Tensor
  /** The buffer of a tensor, with the elements from its beginning; for reading by the caller's own commands after `flush`. */
  bufferOf(tensor: Tensor): GPUBuffer
  /** Submits everything that is queued, so that commands which the caller submits next see its results. */
  flush(): void
}

/** `ModelBackend` on one WebGPU device. */
export class WebgpuBackend implements WebgpuModelBackend {
  readonly contractVersion = CONTRACT_VERSION
  readonly name = 'webgpu'
  readonly device: string
  readonly limits: BackendLimits
  readonly memory: WebgpuMemory
  readonly attention: Attention
  readonly paged: PagedAttention
  readonly ops: ModelOps
  readonly lost: Promise<BackendLostError>
  readonly #device: GpuDevice
  readonly #numbers: SequenceNumbers

  /** @param description the adapter in words */
  constructor(device: GpuDevice, description: string) {
    this.device = description
    this.limits = { dtypes: device.hasF16 ? ['f32', 'f16'] : ['f32'], blocking: false }
    this.#device = device
    this.lost = device.lost
    this.memory = new WebgpuMemory(device, this)
    this.#numbers = new SequenceNumbers(device, this.memory)
    const host = { device, memory: this.memory, numbers: this.#numbers }
    this.attention = webgpuAttention(host)
    this.paged = webgpuPaged(host)
    this.ops = webgpuOps(device, this.memory)
  }

  get gpuDevice(): GPUDevice {
    return this.#device.gpu
  }

  supports(spec: AttentionSpec): Support {
    const valid = validSpec(spec, this.limits.dtypes)
    return valid.ok ? attentionSupport(spec) : valid
  }

  /** Compiles the forward kernels, for prompts and for single tokens; those of gradients follow with their first call. */
  async prepare(specs: readonly AttentionSpec[]): Promise<void> {
    const { memory } = this
    memory.checkOpen()
    for (const spec of specs) checkSpec(memory.owner, spec)
    for (const spec of specs) {
      const sample = sampleOf(memory, this.attention, spec)
      // What is copied there is not, because nothing runs.
      this.#numbers.forget()
      try {
        await this.#device.compile(() => {
          try {
            sample.run()
          } finally {
            this.#numbers.forget()
          }
        })
      } finally {
        sample.dispose()
      }
    }
  }

  /** Records a step as a list of commands. */
  capture<T>(step: () => T): Promise<CapturedStep<T>> {
    return captureStep(this.#device, this.memory, this.#numbers, step)
  }

  wrap(buffer: GPUBuffer, shape: readonly number[], dtype: DType): Tensor {
    return this.memory.wrap(buffer, shape, dtype)
  }

  bufferOf(tensor: Tensor): GPUBuffer {
    return this.memory.slice(tensor).storage.buffer
  }

  flush(): void {
    this.memory.checkOpen()
    this.#device.flush()
  }

  dispose(): void {
    this.memory.close()
  }
}
