import { BackendLostError, OutOfMemoryError, UnsupportedError } from '@phsa/core'
import { CommandQueue, type RecordedCommands } from './command-queue.js'
import { type BufferSlice, type DeviceBuffer, type KernelLaunch, MOST_PARAM_BYTES, PARAMS_BINDING } from './kernel-launch.js'
import { Pipelines } from './pipelines.js'

/** Usage of every buffer that kernels work on. */
const STORAGE_USAGE = () => GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST
/** Bind groups that are kept for launches with the same buffers. */
const MOST_BIND_GROUPS = 4096

/** Subgroup sizes that a kernel may run with. */
export interface SubgroupSizes {
  readonly min: number
  readonly max: number
}

/** A deferred error, and the last check that is told of it: every one until it is told, then those that were under way. */
interface Failure {
  readonly error: Error
  lastCheck: number
}

/** A WebGPU device as kernels use it: buffers, launches in order, and what went wrong meanwhile. */
export class GpuDevice {
  readonly gpu: GPUDevice
  /** Where the device has subgroup operations. */
  readonly subgroups: SubgroupSizes | undefined
  readonly hasF16: boolean
  /** See `matrixUnitsOf`. */
  readonly hasMatrixUnits: boolean
  /** Settles when the device is lost, unless `close` destroyed it. */
  readonly lost: Promise<BackendLostError>
  readonly #queue: CommandQueue
  readonly #pipelines: Pipelines
  readonly #bindGroups = new Map<string, GPUBindGroup>()
  readonly #owned: boolean
  readonly #onError: (event: Event) => void
  /** Answers to come about buffers. */
  readonly #answers = new Set<Promise<void>>()
  #lastId = 0
  #lastCheck = 0
  #failure: Failure | undefined
  #lostError: BackendLostError | undefined
  /** What `compile` waits for, while it runs. */
  #compiling: Promise<void>[] | undefined
  #closed = false

  /**
   * @param owned whether `close` destroys it
   * @param hasMatrixUnits see `matrixUnitsOf`
   */
  constructor(gpu: GPUDevice, subgroups: SubgroupSizes | undefined, owned: boolean, hasMatrixUnits = false) {
    this.gpu = gpu
    this.subgroups = subgroups
    this.hasF16 = gpu.features.has('shader-f16')
    this.hasMatrixUnits = hasMatrixUnits
    this.#owned = owned
    this.#queue = new CommandQueue(gpu)
    this.#pipelines = new Pipelines(gpu, (error) => this.#blame(error))
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

  /** @throws BackendLostError */
  checkLost(): void {
    if (this.#lostError) throw this.#lostError
  }

  /** What went wrong in the calls before this one: a deferred error. Checks that are under way when the first one is told are told it too, later ones not. */
  async takeFailure(): Promise<Error | undefined> {
    const check = ++this.#lastCheck
    // Answers come in the order of calls: with this one, errors of all calls before it are known.
    this.gpu.pushErrorScope('validation')
    await Promise.allSettled([this.gpu.popErrorScope(), this.#pipelines.settled(), ...this.#answers])
    if (this.#lostError) return this.#lostError
    if (!this.#failure || check > this.#failure.lastCheck) return undefined
    this.#failure.lastCheck = Math.min(this.#failure.lastCheck, this.#lastCheck)
    return this.#failure.error
  }

  /** A buffer for kernels; WebGPU says later whether there was room. @param noRoom called where there was not */
  createBuffer(bytes: number, noRoom: () => void): DeviceBuffer {
    this.gpu.pushErrorScope('out-of-memory')
    const buffer = this.gpu.createBuffer({ size: bytes, usage: STORAGE_USAGE() })
    const made: DeviceBuffer = { buffer, id: ++this.#lastId, version: 0 }
    const answer = this.gpu.popErrorScope().then((error) => {
      if (!error) return
      made.isVoid = true
      this.#blame(new OutOfMemoryError(`The GPU has no room for ${bytes} bytes: ${error.message} Dispose tensors, or make fewer at once.`))
      noRoom()
    })
    // A device that is lost says so elsewhere.
    const forget = () => void this.#answers.delete(done)
    const done: Promise<void> = answer.then(forget, forget)
    this.#answers.add(done)
    return made
  }

  /** A buffer that somebody else made and may write without a word here. */
  adopt(buffer: GPUBuffer): DeviceBuffer {
    return { buffer, id: ++this.#lastId, version: Number.NaN }
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
    if (this.#compiling) {
      this.#compiling.push(this.#pipelines.prepare({ kernel, element, constants, bindings }))
      return
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

  /** Compiles what `run` launches, beside other work, and runs nothing of it. @throws Error with file and line */
  async compile(run: () => void): Promise<void> {
    const compiling: Promise<void>[] = []
    this.beginRecording()
    this.#compiling = compiling
    try {
      run()
    } finally {
      this.#compiling = undefined
      this.endRecording()
    }
    await Promise.all(compiling)
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

  endRecording(): RecordedCommands {
    return this.#queue.endRecording()
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
    const entries: GPUBindGroupEntry[] = bindings.map(({ storage, offset, bytes }, binding) => ({
      binding,
      resource: { buffer: storage.buffer, offset, size: bytes },
    }))
    entries.push({ binding: PARAMS_BINDING, resource: { buffer: this.#queue.params, size: MOST_PARAM_BYTES } })
    const made = this.gpu.createBindGroup({ label, layout, entries })
    this.#bindGroups.set(key, made)
    return made
  }

  /** An error of a shader or a buffer is the cause of what the device says about the launches with it, which may be known earlier. */
  #blame(error: Error): void {
    this.#failure = { error, lastCheck: Infinity }
  }

  #fail(error: Error): void {
    if (this.#failure?.lastCheck !== Infinity) this.#failure = { error, lastCheck: Infinity }
  }
}
