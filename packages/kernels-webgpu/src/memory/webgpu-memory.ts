import {
  type AttentionSpec,
  bytesPerElement,
  CaptureError,
  checkCopy,
  checkHostArray,
  checkShape,
  checkUsable,
  DisposedError,
  type DType,
  elementCount,
  type HostArray,
  type Memory,
  type MemoryUsage,
  OutOfMemoryError,
  ScopeStack,
  ShapeError,
  type Support,
  type Tensor,
  type TensorOwner,
  TensorView,
} from '@phsa/core'
import type { GpuDevice } from '../device/gpu-device.js'
import type { BufferSlice, DeviceBuffer } from '../device/kernel-launch.js'
import { type Allocation, BufferPool } from './buffer-pool.js'
import { convert } from './convert.js'
import { Downloads } from './downloads.js'
import { decodeElements, defaultDType, encodeElements } from './host-elements.js'
import { sizeClass } from './size-class.js'
import { StepPool } from './step-pool.js'
import { checkHeld, type HeldDType, type Storage, type WebgpuTensor } from './webgpu-tensor.js'

/** What the memory needs to know of its backend; the object itself is the identity that tensors carry. */
export interface MemoryOwner {
  readonly name: string
  supports(spec: AttentionSpec): Support
}

/** Device memory that is no tensor: a cache. */
export interface Reservation {
  readonly slice: BufferSlice
  /** Releasing twice is allowed. */
  release(): void
}

/** Where memory is taken from and goes back to: everybody's, or that of the step that is recorded. */
type Pool = Pick<BufferPool, 'take' | 'release'>

/** What was made while a step was recorded. */
export interface Recording<T> {
  readonly result: T
  /** Frees the tensors of the result and the memory of the step, which must not run again. */
  release(): void
}

/** `Memory` of one WebGPU device, and what kernels need besides: slices of buffers, tensors to fill, scratch. */
export class WebgpuMemory implements Memory {
  readonly owner: TensorOwner
  readonly #device: GpuDevice
  readonly #buffers: BufferPool
  readonly #downloads: Downloads
  readonly #scopes = new ScopeStack()
  readonly #held = new Map<object, () => void>()
  readonly #live = new Set<DeviceBuffer>()
  readonly #stepPools = new Set<StepPool>()
  #pool: Pool
  /** Tensors made while a step is recorded. */
  #recorded: WebgpuTensor[] | undefined
  #bytes = 0
  #closed = false

  constructor(device: GpuDevice, owner: MemoryOwner) {
    this.#device = device
    this.#buffers = new BufferPool({
      create: (bytes) => {
        const memory = device.createBuffer(bytes, () => this.#giveBack())
        this.#live.add(memory)
        return memory
      },
      destroy: (memory) => {
        this.#live.delete(memory)
        memory.buffer.destroy()
      },
    })
    this.#pool = this.#buffers
    this.#downloads = new Downloads(device)
    this.owner = {
      name: owner.name,
      backend: owner,
      supports: (spec) => owner.supports(spec),
      isDisposed: (tensor) => this.#closed || (tensor as WebgpuTensor).disposed,
    }
  }

  upload(data: HostArray, shape: readonly number[], dtype: DType = defaultDType(data)): Tensor {
    this.checkOpen()
    this.#checkNotRecording('upload')
    checkShape(shape)
    checkHeld(dtype, this.#device.hasF16)
    checkHostArray(data, shape, dtype)
    const tensor = this.#make(shape, dtype)
    this.#device.write(this.slice(tensor), encodeElements(data, dtype))
    return tensor
  }

  write(tensor: Tensor, data: HostArray): void {
    const target = this.#read('tensor', tensor)
    this.#checkNotRecording('write')
    checkHostArray(data, target.shape, target.dtype)
    this.#device.write(this.slice(target), encodeElements(data, target.dtype))
  }

  alloc(shape: readonly number[], dtype: DType): Tensor {
    const tensor = this.make(shape, dtype)
    this.zero(tensor)
    return tensor
  }

  zero(tensor: Tensor): void {
    this.#device.clear(this.#elements(this.#read('tensor', tensor)))
  }

  copy(source: Tensor, target: Tensor): void {
    const from = this.#read('source', source)
    const to = this.#read('target', target)
    checkCopy(from, to)
    const count = elementCount(from.shape)
    if (count === 0 || from.storage === to.storage) return
    if (from.dtype === to.dtype) this.#device.copy(this.#elements(from), this.#elements(to))
    else convert(this.#device, this.slice(from), this.slice(to), from.dtype, count)
  }

  reshape(tensor: Tensor, shape: readonly number[]): Tensor {
    const { storage, dtype } = this.#read('tensor', tensor)
    checkShape(shape)
    if (elementCount(shape) !== elementCount(tensor.shape)) {
      throw new ShapeError(`reshape from [${tensor.shape.join(', ')}] to [${shape.join(', ')}] changes the element count; a view keeps it.`)
    }
    return this.#track(new TensorView(this.owner.backend, dtype, shape, storage))
  }

  async download(tensor: Tensor): Promise<HostArray> {
    const { dtype, shape } = this.#read('tensor', tensor)
    this.#checkNotRecording('download')
    const length = elementCount(shape)
    const slice = length > 0 ? this.slice(tensor) : { ...this.slice(tensor), bytes: 0 }
    return this.#downloads.fetch(slice, (bytes) => decodeElements(bytes, dtype, length))
  }

  scope<T>(run: () => T): T {
    this.checkOpen()
    return this.#scopes.run(run)
  }

  usage(): MemoryUsage {
    return { tensors: this.#held.size, bytes: this.#bytes }
  }

  /** A new tensor with undefined contents, for a kernel that writes all of it. It belongs to the open scope. */
  make(shape: readonly number[], dtype: DType): Tensor {
    this.checkOpen()
    checkShape(shape)
    checkHeld(dtype, this.#device.hasF16)
    return this.#make(shape, dtype)
  }

  /** A tensor over a buffer that somebody else made and destroys, with usages STORAGE, COPY_SRC and COPY_DST. */
  wrap(buffer: GPUBuffer, shape: readonly number[], dtype: DType): Tensor {
    this.checkOpen()
    checkShape(shape)
    checkHeld(dtype, this.#device.hasF16)
    const bytes = storedBytes(elementCount(shape) * bytesPerElement[dtype])
    if (buffer.size < bytes) {
      throw new ShapeError(`the buffer has ${buffer.size} bytes; a ${dtype} tensor [${shape.join(', ')}] takes ${bytes}.`)
    }
    const wanted = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST
    if ((buffer.usage & wanted) !== wanted) {
      throw new ShapeError(`the buffer has usage ${buffer.usage}; a tensor needs STORAGE | COPY_SRC | COPY_DST (${wanted}).`)
    }
    return this.#hold(shape, dtype, this.#device.adopt(buffer), bytes, () => {})
  }

  /** The elements of a tensor of this backend as a kernel sees them: a multiple of 4 bytes, at least 16. */
  slice(tensor: Tensor): BufferSlice {
    const { storage, dtype, shape } = this.#read('tensor', tensor)
    return { storage: storage.memory, offset: 0, bytes: storedBytes(elementCount(shape) * bytesPerElement[dtype]) }
  }

  /** Memory for the kernels that `run` queues, with undefined contents, not counted as a tensor. */
  scratch<T>(bytes: number, run: (scratch: BufferSlice) => T): T {
    this.checkOpen()
    const pool = this.#pool
    const allocation = this.#take('scratch memory', bytes)
    try {
      return run({ storage: allocation.memory, offset: 0, bytes: storedBytes(bytes) })
    } finally {
      pool.release(allocation)
    }
  }

  /** Memory that the backend keeps for itself: in no scope, and no tensor that anybody counts. */
  keep(bytes: number): Reservation {
    this.checkOpen()
    const pool = this.#pool
    const allocation = this.#take('memory of the backend', bytes)
    return { slice: { storage: allocation.memory, offset: 0, bytes: storedBytes(bytes) }, release: () => pool.release(allocation) }
  }

  /** Memory for something that is no tensor and belongs to no scope. Counts as one tensor of so many bytes. @throws CaptureError while a step is recorded */
  reserve(what: string, bytes: number): Reservation {
    this.checkOpen()
    this.#checkNotRecording(what)
    const allocation = this.#take(what, bytes)
    const reservation = {
      slice: { storage: allocation.memory, offset: 0, bytes: storedBytes(bytes) },
      release: () => {
        // Closing has freed everything already.
        if (!this.#held.delete(reservation)) return
        this.#bytes -= bytes
        this.#buffers.release(allocation)
      },
    }
    this.#held.set(reservation, () => this.#buffers.release(allocation))
    this.#bytes += bytes
    return reservation
  }

  /** Runs a step whose memory is used by nobody else until it is released. The tensors of its result live on, the others are freed. */
  record<T>(step: () => T): Recording<T> {
    const pool = new StepPool(this.#buffers)
    const made: WebgpuTensor[] = []
    const release = () => {
      for (const tensor of made.splice(0)) tensor.dispose()
      if (this.#stepPools.delete(pool)) pool.close()
    }
    this.#stepPools.add(pool)
    this.#pool = pool
    this.#recorded = made
    try {
      const result = this.#scopes.run(step)
      made.splice(0, made.length, ...made.filter(({ disposed }) => !disposed))
      return { result, release }
    } catch (error) {
      release()
      throw error
    } finally {
      this.#pool = this.#buffers
      this.#recorded = undefined
    }
  }

  /** Destroys every buffer; every call is a DisposedError from now on. Downloads that are pending still arrive. */
  close(): void {
    if (this.#closed) return
    this.#checkNotRecording('the dispose of the backend')
    this.#closed = true
    this.#held.clear()
    this.#bytes = 0
    const end = () => {
      for (const { buffer } of this.#live) buffer.destroy()
      this.#live.clear()
      this.#device.close()
    }
    const { running } = this.#downloads
    if (running) running.then(end)
    else end()
  }

  /** @throws DisposedError or BackendLostError */
  checkOpen(): void {
    if (this.#closed) throw new DisposedError(`the ${this.owner.name} backend is disposed; create a new one.`)
    this.#device.checkLost()
  }

  #make(shape: readonly number[], dtype: HeldDType): WebgpuTensor {
    const bytes = elementCount(shape) * bytesPerElement[dtype]
    const pool = this.#pool
    const allocation = this.#take(`a ${dtype} tensor [${shape.join(', ')}]`, bytes)
    return this.#hold(shape, dtype, allocation.memory, bytes, () => pool.release(allocation))
  }

  #hold(shape: readonly number[], dtype: HeldDType, memory: DeviceBuffer, bytes: number, free: () => void): WebgpuTensor {
    const storage: Storage = {
      memory,
      views: 0,
      release: () => {
        // Closing has freed everything already.
        if (!this.#held.delete(storage)) return
        this.#bytes -= bytes
        free()
      },
    }
    this.#held.set(storage, free)
    this.#bytes += bytes
    return this.#track(new TensorView(this.owner.backend, dtype, shape, storage))
  }

  #take(what: string, bytes: number): Allocation {
    const most = this.#device.gpu.limits.maxBufferSize
    const wanted = storedBytes(bytes)
    if (wanted > most)
      throw new OutOfMemoryError(`${what} needs ${wanted} bytes; buffers of this device have at most ${most}. Split it, or use f16.`)
    // The step between size classes may pass the limit that the request itself keeps.
    return this.#pool.take(Math.min(sizeClass(wanted), most))
  }

  /** Gives the device, which had no room, all that is free. */
  #giveBack(): void {
    if (this.#closed) return
    // Queued commands and bind groups may name it.
    this.#device.flush()
    this.#device.forgetBindGroups()
    this.#buffers.giveBack()
  }

  /** A tensor's elements as copies see them: a multiple of 4 bytes, and no more, because what follows in a wrapped buffer is its owner's. */
  #elements(tensor: WebgpuTensor): BufferSlice {
    return { ...this.slice(tensor), bytes: Math.ceil((elementCount(tensor.shape) * bytesPerElement[tensor.dtype]) / 4) * 4 }
  }

  #checkNotRecording(what: string): void {
    if (this.#device.recording)
      throw new CaptureError(
        `${what} while a step is recorded: replays would not repeat it. Do it before, and write into tensors that the step reads.`,
      )
  }

  #track(tensor: WebgpuTensor): WebgpuTensor {
    this.#scopes.add(tensor)
    this.#recorded?.push(tensor)
    return tensor
  }

  #read(name: string, tensor: Tensor): WebgpuTensor {
    this.checkOpen()
    checkUsable(this.owner, name, tensor)
    return tensor as WebgpuTensor
  }
}

/** Bytes of the largest element of a storage buffer's array, which a binding may not be smaller than. */
const LEAST_BINDING = 16

/** Bytes that elements take on the device, where copies and bindings are multiples of 4 and never empty. */
function storedBytes(bytes: number): number {
  return Math.max(LEAST_BINDING, Math.ceil(bytes / 4) * 4)
}
