import {
  type AttentionSpec,
  bytesPerElement,
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
import type { Device } from '../driver/device.js'
import { type DevicePointer, ParamWriter } from '../driver/param-writer.js'
import { CachingAllocator } from './caching-allocator.js'
import type { CudaTensor, Storage } from './cuda-tensor.js'
import { DownloadQueue } from './download-queue.js'
import type { Allocation } from './free-lists.js'
import { GraphPool } from './graph-pool.js'
import { checkHeld, decodeElements, defaultDType, encodeElements, type HeldDType } from './host-elements.js'
import { PinnedMemory } from './pinned-memory.js'
import { SLOT_BYTES, UploadStaging } from './upload-staging.js'

/** What the memory needs to know of its backend; the object itself is the identity that tensors carry. */
export interface MemoryOwner {
  readonly name: string
  supports(spec: AttentionSpec): Support
}

/** Device memory that is no tensor: a cache. */
export interface Reservation extends DevicePointer {
  /** Releasing twice is allowed. */
  release(): void
}

/** Where memory is taken from and goes back to: everybody's, or that of the step that is recorded. */
type Pool = Pick<CachingAllocator, 'take' | 'release'>

/** What was made while a step was recorded. */
export interface Recording<T> {
  readonly result: T
  /** Frees the tensors of the result and the memory of the step, which must not run again. */
  release(): void
}

/** Threads a block of the conversion kernels; each converts one element at a time. */
const CONVERT_THREADS = 256
/** Blocks enough to fill any GPU; they loop. */
const CONVERT_BLOCKS = 2048

/** `Memory` of one GPU, and what kernels need besides: an address, a tensor to fill, scratch, memory for a cache. */
export class CudaMemory implements Memory {
  readonly owner: TensorOwner
  readonly #device: Device
  readonly #allocator: CachingAllocator
  readonly #pinned: PinnedMemory
  readonly #staging: UploadStaging
  readonly #downloads: DownloadQueue
  readonly #scopes = new ScopeStack()
  readonly #held = new Map<Reservation, () => void>()
  readonly #graphPools = new Set<GraphPool>()
  #pool: Pool
  /** Tensors made while a step is recorded. */
  #recorded: CudaTensor[] | undefined
  #bytes = 0
  #closed = false

  constructor(device: Device, owner: MemoryOwner) {
    this.#device = device
    this.#allocator = new CachingAllocator({ allocate: (bytes) => device.allocate(bytes), free: (address) => device.free(address) })
    this.#pool = this.#allocator
    this.#pinned = new PinnedMemory(device)
    this.#staging = new UploadStaging(device, this.#pinned)
    this.#downloads = new DownloadQueue(device, this.#pinned)
    this.owner = {
      name: owner.name,
      backend: owner,
      supports: (spec) => owner.supports(spec),
      isDisposed: (tensor) => this.#closed || (tensor as CudaTensor).disposed,
    }
  }

  upload(data: HostArray, shape: readonly number[], dtype: DType = defaultDType(data)): Tensor {
    this.checkOpen()
    this.#device.capture.checkNotRecording('upload')
    checkShape(shape)
    checkHeld(dtype)
    checkHostArray(data, shape, dtype)
    const tensor = this.#make(shape, dtype)
    try {
      this.#send(data, tensor)
      return tensor
    } catch (error) {
      tensor.dispose()
      throw error
    }
  }

  write(tensor: Tensor, data: HostArray): void {
    const target = this.#read('tensor', tensor)
    this.#device.capture.checkNotRecording('write')
    checkHostArray(data, target.shape, target.dtype)
    this.#send(data, target)
  }

  alloc(shape: readonly number[], dtype: DType): Tensor {
    const tensor = this.make(shape, dtype)
    this.zero(tensor)
    return tensor
  }

  zero(tensor: Tensor): void {
    const { storage } = this.#read('tensor', tensor)
    const bytes = bytesOf(tensor)
    if (bytes > 0) this.#device.fill8(storage.address, 0, bytes)
  }

  copy(source: Tensor, target: Tensor): void {
    const from = this.#read('source', source)
    const to = this.#read('target', target)
    checkCopy(from, to)
    const count = elementCount(from.shape)
    if (count === 0 || from.storage === to.storage) return
    if (from.dtype === to.dtype) this.#device.copyOnDevice(to.storage.address, from.storage.address, bytesOf(from))
    else this.#convert(from, to, count)
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
    const { storage, dtype, shape } = this.#read('tensor', tensor)
    this.#device.capture.checkNotRecording('download')
    const length = elementCount(shape)
    return this.#downloads.fetch(storage.address, bytesOf(tensor), (buffer) => decodeElements(buffer, dtype, length))
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
    checkHeld(dtype)
    return this.#make(shape, dtype)
  }

  /** Where a tensor of this backend lies; 0n where it has no elements. */
  address(tensor: Tensor): bigint {
    return this.#read('tensor', tensor).storage.address
  }

  /** Keeps a tensor's memory, whatever becomes of the tensor, until it is released. */
  hold(tensor: Tensor): Reservation {
    const { dtype, shape, storage } = this.#read('tensor', tensor)
    const view = new TensorView(this.owner.backend, dtype, shape, storage)
    return { address: storage.address, release: () => view.dispose() }
  }

  /** Memory for the kernels that `run` queues: aligned to 256 bytes, with undefined contents, not counted as a tensor. */
  scratch<T>(bytes: number, run: (scratch: DevicePointer) => T): T {
    this.checkOpen()
    const pool = this.#pool
    const allocation = this.#take('scratch memory', bytes)
    try {
      return run(allocation)
    } finally {
      pool.release(allocation)
    }
  }

  /**
   * Memory for something that is no tensor and belongs to no scope. Counts as one tensor of so many bytes.
   * @throws OutOfMemoryError; CaptureError while a step is recorded, whose memory goes with it
   */
  reserve(what: string, bytes: number): Reservation {
    this.checkOpen()
    this.#device.capture.checkNotRecording(what)
    return this.#reserve(what, bytes)
  }

  /** Runs a step whose memory is used by nobody else until it is released. The tensors of its result live on, the others are freed. */
  record<T>(step: () => T): Recording<T> {
    const pool = new GraphPool(this.#allocator)
    const made: CudaTensor[] = []
    const release = () => {
      for (const tensor of made.splice(0)) tensor.dispose()
      if (this.#graphPools.delete(pool)) pool.close()
    }
    this.#graphPools.add(pool)
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
      this.#pool = this.#allocator
      this.#recorded = undefined
    }
  }

  /**
   * Frees everything; every call is a DisposedError from now on. Downloads that are pending still arrive.
   * @param end begins to end what else is on the device, which is closed when that has ended
   */
  close(end?: () => Promise<void>): void {
    if (this.#closed) return
    this.#device.capture.checkNotRecording('the dispose of the backend')
    this.#closed = true
    const held = [...this.#held.values()]
    this.#held.clear()
    this.#bytes = 0
    try {
      this.#device.synchronize()
      this.#downloads.flush()
      for (const release of held) release()
      for (const pool of this.#graphPools) pool.close()
      this.#graphPools.clear()
      this.#allocator.giveBack()
      this.#staging.close()
      this.#pinned.close()
    } catch (error) {
      // A lost device frees nothing any more; its memory goes with the context.
      if (!this.#device.isLost) throw error
      this.#downloads.abandon(error)
    }
    const leave = () => {
      if (!this.#device.isLost) this.#downloads.close()
      this.#device.close()
    }
    const ending = [this.#downloads.running, end?.()].filter((each) => each !== undefined)
    // Nobody waits for this: what fails here is said, and the context is left all the same.
    if (ending.length > 0) Promise.all(ending).catch(warn).then(leave).catch(warn)
    else leave()
  }

  /** @throws DisposedError or BackendLostError */
  checkOpen(): void {
    if (this.#closed) throw new DisposedError(`the ${this.owner.name} backend is disposed; create a new one.`)
    this.#device.checkOpen()
  }

  #make(shape: readonly number[], dtype: HeldDType): CudaTensor {
    const { address, release } = this.#reserve(`a ${dtype} tensor [${shape.join(', ')}]`, elementCount(shape) * bytesPerElement[dtype])
    const storage: Storage = { address, release, views: 0 }
    return this.#track(new TensorView(this.owner.backend, dtype, shape, storage))
  }

  #reserve(what: string, bytes: number): Reservation {
    const pool = this.#pool
    const allocation = this.#take(what, bytes)
    const reservation = {
      address: allocation.address,
      release: () => {
        // Closing has freed everything already.
        if (!this.#held.delete(reservation)) return
        this.#bytes -= bytes
        pool.release(allocation)
      },
    }
    this.#held.set(reservation, () => pool.release(allocation))
    this.#bytes += bytes
    return reservation
  }

  #take(what: string, bytes: number): Allocation {
    const allocation = this.#pool.take(bytes)
    if (allocation) return allocation
    const { free, total } = this.#device.memoryInfo()
    throw new OutOfMemoryError(
      `${what} needs ${bytes} bytes; ${free} of ${total} are free on the GPU. Dispose tensors, make fewer at once, or end other programs that use it.`,
    )
  }

  #send(data: HostArray, { storage, dtype }: CudaTensor): void {
    const size = bytesPerElement[dtype]
    const most = SLOT_BYTES / size
    for (let start = 0; start < data.length; start += most) {
      const end = Math.min(data.length, start + most)
      this.#staging.send(storage.address + BigInt(start * size), (end - start) * size, (buffer, offset) =>
        encodeElements(data, dtype, start, end, buffer, offset),
      )
    }
  }

  #convert(from: CudaTensor, to: CudaTensor, count: number): void {
    this.#device.launch({
      kernel: `convert_${from.dtype}_${to.dtype}`,
      grid: [Math.min(CONVERT_BLOCKS, Math.ceil(count / CONVERT_THREADS)), 1, 1],
      block: CONVERT_THREADS,
      params: new ParamWriter().pointer(from.storage).pointer(to.storage).i64(count).end(),
    })
  }

  #track(tensor: CudaTensor): CudaTensor {
    this.#scopes.add(tensor)
    this.#recorded?.push(tensor)
    return tensor
  }

  #read(name: string, tensor: Tensor): CudaTensor {
    this.checkOpen()
    checkUsable(this.owner, name, tensor)
    return tensor as CudaTensor
  }
}

function warn(error: unknown): void {
  process.emitWarning(`The backend did not end in good order: ${error instanceof Error ? error.message : String(error)}`, 'PhsaWarning')
}

function bytesOf(tensor: Tensor): number {
  return elementCount(tensor.shape) * bytesPerElement[tensor.dtype]
}
