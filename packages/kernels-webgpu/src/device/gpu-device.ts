import { BackendLostError, OutOfMemoryError, UnsupportedError } from '@phsa/core'
import { type Command, CommandQueue, type RecordedCommands } from './command-queue.js'
import { type BufferSlice, type DeviceBuffer, type KernelLaunch, MOST_PARAM_BYTES } from './kernel-launch.js'
import { Pipelines } from './pipelines.js'

/** Usage of every buffer that kernels work on. */
const STORAGE_USAGE = () => GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST
/** Bind groups that are kept for launches with the same buffers. */
const MOST_BIND_GROUPS = 4096
/** Buffers from here on are checked for memory one by one; smaller ones fail with the device's own words. */
const CHECKED_BYTES = 2 ** 20

/** Subgroup sizes that a kernel may run with. */
export interface SubgroupSizes {
  readonly min: number
  readonly max: number
}

/** A WebGPU device as kernels use it: buffers, launches in order, and what went wrong meanwhile. */
export class GpuDevice {
  readonly gpu: GPUDevice
  /** Where the device has subgroup operations. */
  readonly subgroups: SubgroupSizes | undefined
  readonly hasF16: boolean
  /** Whether subgroup matrices multiply 16 x 16 of f16 and add in f32: an experiment of Dawn's. */
  readonly hasMatrixUnits: boolean
  /** Settles when the device is lost, unless `close` destroyed it. */
  readonly lost: Promise<BackendLostError>
  readonly #queue: CommandQueue
  readonly #pipelines: Pipelines
  readonly #bindGroups = new Map<string, GPUBindGroup>()
  readonly #owned: boolean
  readonly #onError: (event: Event) => void
  #lastId = 0
  #failure: Error | undefined
  #lostError: BackendLostError | undefined
  #closed = false

  /** @param owned whether `close` destroys it */
  constructor(gpu: GPUDevice, subgroups: SubgroupSizes | undefined, owned: boolean) {
    this.gpu = gpu
    this.subgroups = subgroups
    this.hasF16 = gpu.features.has('shader-f16')
    this.hasMatrixUnits = this.hasF16 && multipliesHalf(gpu)
    this.#owned = owned
    this.#queue = new CommandQueue(gpu)
    this.#pipelines = new Pipelines(gpu, this.#queue.paramsLayout, (error) => {
      // The cause of what the device says about the launch.
      this.#failure = error
    })
    this.#onError = (event) => {
      const { error } = event as GPUUncapturedErrorEvent
      const isMemory = error.constructor.name === 'GPUOutOfMemoryError'
      this.#fail(isMemory ? new OutOfMemoryError(`The GPU has no room: ${error.message}`) : new Error(`WebGPU: ${error.message}`))
    }
    gpu.addEventListener('uncapturederror', this.#onError)
    this.lost = gpu.lost.then(({ reason, message }) => {
      // Destroyed by `close`: that is no loss, and nobody is told.
      if (this.#closed) return new Promise<never>(() => {})
      const why = message.trim() || reason
      this.#lostError = new BackendLostError(`The WebGPU device is lost: ${why} Dispose this backend and create a new one.`)
      return this.#lostError
    })
  }

  get isLost(): boolean {
    return this.#lostError !== undefined
  }

  /** @throws BackendLostError */
  checkLost(): void {
    if (this.#lostError) throw this.#lostError
  }

  /** Takes what went wrong since the last time: a deferred error of the work that was queued. */
  async takeFailure(): Promise<Error | undefined> {
    await this.#pipelines.settled()
    const failure = this.#lostError ?? this.#failure
    this.#failure = undefined
    return failure
  }

  /** A buffer for kernels; WebGPU says later whether there was room. */
  createBuffer(bytes: number): DeviceBuffer {
    const checked = bytes >= CHECKED_BYTES
    if (checked) this.gpu.pushErrorScope('out-of-memory')
    const buffer = this.gpu.createBuffer({ size: bytes, usage: STORAGE_USAGE() })
    if (checked) {
      this.gpu.popErrorScope().then(
        (error) => {
          if (error)
            this.#fail(
              new OutOfMemoryError(`The GPU has no room for ${bytes} bytes: ${error.message} Dispose tensors, or make fewer at once.`),
            )
        },
        // Lost meanwhile, which is said elsewhere.
        () => {},
      )
    }
    return this.adopt(buffer)
  }

  /** A buffer that somebody else made. */
  adopt(buffer: GPUBuffer): DeviceBuffer {
    return { buffer, id: ++this.#lastId, version: 0 }
  }

  /** Queues a kernel; a grid with an extent of 0 is no launch. */
  launch({ kernel, element, constants, bindings, params, grid }: KernelLaunch): void {
    if (grid.includes(0)) return
    if (params.byteLength > MOST_PARAM_BYTES)
      throw new Error(`${kernel.name} has ${params.byteLength} bytes of parameters; there is room for ${MOST_PARAM_BYTES}.`)
    const most = this.gpu.limits.maxComputeWorkgroupsPerDimension
    if (Math.max(grid[0], grid[1], grid[2]) > most)
      throw new Error(`${kernel.name} asks for ${grid.join(' x ')} workgroups; ${most} fit in a dimension.`)
    const mostBytes = this.gpu.limits.maxStorageBufferBindingSize
    const written: DeviceBuffer[] = []
    for (const { storage, bytes, access } of bindings) {
      if (access === 'write') written.push(storage)
      if (bytes <= mostBytes) continue
      throw new UnsupportedError(
        'binding-size',
        `${kernel.name} would bind ${bytes} bytes of one tensor; kernels of this device see at most ${mostBytes} at once. Use fewer tokens, or f16 instead of f32.`,
      )
    }
    const { pipeline, tensors } = this.#pipelines.get({ kernel, element, constants, bindings })
    this.#queue.push({
      kind: 'dispatch',
      pipeline,
      tensors: this.#bindGroup(tensors, bindings, kernel.name),
      params,
      grid,
      written,
    })
  }

  /** Compiles a kernel beside other work. */
  prepare(launch: Pick<KernelLaunch, 'kernel' | 'element' | 'constants'>, accesses: readonly ('read' | 'write')[]): Promise<void> {
    return this.#pipelines.prepare({ ...launch, bindings: accesses.map((access) => ({ access })) })
  }

  /** Queues a copy of a multiple of 4 bytes between two buffers. */
  copy(source: BufferSlice, target: BufferSlice): void {
    const { storage, offset, bytes } = source
    this.#queue.push({
      kind: 'copy',
      source: storage.buffer,
      sourceOffset: offset,
      target: target.storage.buffer,
      targetOffset: target.offset,
      bytes,
      written: [target.storage],
    })
  }

  /** Queues a copy to a buffer that the host will map. */
  copyOut({ storage, offset, bytes }: BufferSlice, target: GPUBuffer): void {
    this.#queue.push({ kind: 'copy', source: storage.buffer, sourceOffset: offset, target, targetOffset: 0, bytes, written: [] })
  }

  /** Queues zeros for a multiple of 4 bytes. */
  clear({ storage, offset, bytes }: BufferSlice): void {
    this.#queue.push({ kind: 'clear', target: storage.buffer, offset, bytes, written: [storage] })
  }

  /** Writes bytes from the host, a multiple of 4, behind everything that is queued. */
  write({ storage, offset }: BufferSlice, data: Uint8Array<ArrayBuffer>): void {
    this.#queue.flush()
    this.gpu.queue.writeBuffer(storage.buffer, offset, data)
    storage.version++
  }

  /** Submits what is queued. */
  flush(): void {
    this.#queue.flush()
  }

  get recording(): boolean {
    return this.#queue.recording
  }

  beginRecording(): void {
    this.#queue.flush()
    this.#queue.beginRecording()
  }

  endRecording(): readonly Command[] {
    return this.#queue.endRecording()
  }

  /** Prepares recorded commands for `replay`. */
  keep(commands: readonly Command[]): RecordedCommands {
    return this.#queue.keep(commands)
  }

  /** Submits recorded commands again, behind what is queued. */
  replay(recorded: RecordedCommands): void {
    this.#queue.replay(recorded)
  }

  /** Forgets bind groups, which may name buffers that are gone. */
  forgetBindGroups(): void {
    this.#bindGroups.clear()
  }

  close(): void {
    if (this.#closed) return
    this.#closed = true
    this.#queue.close()
    this.gpu.removeEventListener('uncapturederror', this.#onError)
    this.#bindGroups.clear()
    if (this.#owned) this.gpu.destroy()
  }

  #bindGroup(layout: GPUBindGroupLayout, bindings: KernelLaunch['bindings'], label: string): GPUBindGroup {
    let key = ''
    for (const { storage, offset, bytes, access } of bindings) key += `${storage.id}:${offset}:${bytes}${access === 'read' ? 'r' : 'w'}`
    const known = this.#bindGroups.get(key)
    if (known) return known
    if (this.#bindGroups.size >= MOST_BIND_GROUPS) this.#bindGroups.clear()
    const entries = bindings.map(({ storage, offset, bytes }, binding) => ({
      binding,
      resource: { buffer: storage.buffer, offset, size: bytes },
    }))
    const made = this.gpu.createBindGroup({ label, layout, entries })
    this.#bindGroups.set(key, made)
    return made
  }

  #fail(error: Error): void {
    this.#failure ??= error
  }
}

/** What Dawn says of a product of subgroup matrices. */
interface SubgroupMatrixConfig {
  readonly componentType: string
  readonly resultComponentType: string
  readonly M: number
  readonly N: number
  readonly K: number
}

function multipliesHalf({ features, adapterInfo }: GPUDevice): boolean {
  if (!features.has('chromium-experimental-subgroup-matrix')) return false
  const { subgroupMatrixConfigs = [] }: GPUAdapterInfo & { readonly subgroupMatrixConfigs?: readonly SubgroupMatrixConfig[] } = adapterInfo
  return subgroupMatrixConfigs.some(
    ({ componentType, resultComponentType, M, N, K }) =>
      componentType === 'f16' && resultComponentType === 'f32' && [M, N, K].every((extent) => extent === 16),
  )
}
