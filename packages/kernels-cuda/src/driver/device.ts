import { BackendLostError, BackendUnavailableError, DisposedError, OutOfMemoryError } from '@phsa/core'
import type { CudaDriver, Handle } from './cuda-driver.js'
import { CudaError, failureText } from './cuda-error.js'
import { capabilityText, type DeviceInfo } from './find-device.js'
import { type KernelArchive, runsOn } from './kernel-archive.js'
import type { KernelLaunch } from './kernel-launch.js'
import { LoadedKernels } from './loaded-kernels.js'
import { isSticky, Result } from './result-codes.js'
import { SideStream } from './side-stream.js'
import { StreamCapture } from './stream-capture.js'

/** CU_STREAM_NON_BLOCKING: work of others on the default stream does not order with ours. */
const NON_BLOCKING = 1
/** CU_EVENT_BLOCKING_SYNC and CU_EVENT_DISABLE_TIMING: a thread that waits sleeps, and nobody reads the time. */
const WAITABLE = 3
const TIMED = 0
/** A priority before all that there are. */
const FIRST_OF_ALL = -1000
/** Compute capability of GPUs where a kernel can begin before the one in front has ended. */
const LEAST_TO_OVERLAP = 90

/**
 * One GPU with its context, its one stream and the kernels. Work is queued in call order. A result that no later call can recover from
 * makes it lost: from then on every method throws BackendLostError.
 */
export class Device {
  readonly info: DeviceInfo
  /** Settles when the device is lost. */
  readonly lost: Promise<BackendLostError>
  /** Records steps of the queue. */
  readonly capture: StreamCapture
  readonly #driver: CudaDriver
  readonly #context: Handle
  readonly #stream: Handle
  readonly #kernels: LoadedKernels
  readonly #settleLost: (error: BackendLostError) => void
  /** Called before a call of the driver that blocks the thread until the GPU is done. */
  beforeBlocking: () => void = () => {}
  #lostError: BackendLostError | undefined
  /** The kernel that was queued last, '' where something else came behind it: nothing may overlap with that. */
  #lastKernel = ''
  #closed = false

  /**
   * Takes the GPU's primary context, the one that other libraries of the process use too.
   * @throws BackendUnavailableError where no kernel has code for the GPU, or its context cannot be had
   */
  constructor(driver: CudaDriver, info: DeviceInfo, archive: KernelArchive) {
    this.info = info
    this.#driver = driver
    const modules = archive.modules.filter(({ targets }) => runsOn(targets, info.computeCapability))
    if (modules.length === 0) {
      const built = [...new Set(archive.modules.flatMap(({ targets }) => targets))].join(', ')
      throw new BackendUnavailableError(
        `cuda: ${info.name} has compute capability ${capabilityText(info.computeCapability)}; the kernels were built for ${built || 'nothing'}. Build them with \`node scripts/build-kernels.mjs --release\`.`,
      )
    }
    let settle: (error: BackendLostError) => void = () => {}
    this.lost = new Promise((resolve) => {
      settle = resolve
    })
    this.#settleLost = settle
    this.#context = this.#start('cuDevicePrimaryCtxRetain', (context) => driver.cuDevicePrimaryCtxRetain(context, info.handle))
    try {
      this.#mustSucceed('cuCtxSetCurrent', driver.cuCtxSetCurrent(this.#context))
      this.#stream = this.#start('cuStreamCreate', (stream) => driver.cuStreamCreate(stream, NON_BLOCKING))
    } catch (error) {
      driver.cuDevicePrimaryCtxRelease(info.handle)
      throw error
    }
    this.#kernels = new LoadedKernels(driver, modules, this.check.bind(this))
    this.capture = new StreamCapture(driver, {
      stream: this.#stream,
      enter: () => this.#enter(),
      check: this.check.bind(this),
      interrupt: () => {
        this.#lastKernel = ''
      },
      lose: (text) => this.#lose(text),
      isLost: () => this.isLost,
    })
  }

  get multiprocessors(): number {
    return this.info.multiprocessors
  }

  get sharedBytes(): number {
    return this.info.sharedBytes
  }

  get isLost(): boolean {
    return this.#lostError !== undefined
  }

  /** @throws DisposedError or BackendLostError */
  checkOpen(): void {
    if (this.#closed) throw new DisposedError('the cuda backend is disposed; create a new one.')
    if (this.#lostError) throw this.#lostError
  }

  /** Queues a kernel; its arguments are copied. Nothing is queued where an extent of the grid is 0. */
  launch({ kernel, grid, block, sharedBytes = 0, overlaps = [], together = false, params }: KernelLaunch): void {
    this.#enter()
    if (grid.includes(0)) return
    const handle = this.#kernels.get(kernel, sharedBytes)
    const canOverlap = this.info.computeCapability >= LEAST_TO_OVERLAP && overlaps.some((name) => this.#lastKernel.startsWith(name))
    const way = together ? 'together' : canOverlap ? 'early' : undefined
    this.#lastKernel = kernel
    const result = way
      ? this.#driver.cuLaunchKernelEx(handle, grid, block, sharedBytes, this.#stream, params, way)
      : this.#driver.cuLaunchKernel(handle, grid, block, sharedBytes, this.#stream, params)
    this.check(
      `${way ? 'cuLaunchKernelEx' : 'cuLaunchKernel'} of ${kernel}, grid ${grid.join(' x ')}, ${block} threads, ${sharedBytes} bytes`,
      result,
    )
  }

  /** Calls a library that queues work itself: with the device's context current, on its stream. */
  withStream<T>(call: (stream: Handle) => T): T {
    this.#enter()
    this.#lastKernel = ''
    return call(this.#stream)
  }

  /** Another queue, for work that overlaps with that of the device's own. Its owner destroys it. */
  openSideStream(): SideStream {
    this.#enter()
    const stream = new BigUint64Array(1)
    this.check('cuStreamCreateWithPriority', this.#driver.cuStreamCreateWithPriority(stream, NON_BLOCKING, FIRST_OF_ALL))
    return new SideStream(this.#driver, { side: stream[0], main: this.#stream, enter: () => this.#enter(), check: this.check.bind(this) })
  }

  /** Whether there is such a kernel for this GPU. */
  hasKernel(name: string): boolean {
    this.#enter()
    return this.#kernels.has(name)
  }

  /**
   * How many clusters of a kernel the GPU runs at once where nothing else does; 0 where it has no kernel of that name. Large ones do not fit
   * everywhere: some parts of a GPU have fewer multiprocessors than others.
   */
  clustersAtOnce(kernel: string, cluster: number, threads: number, sharedBytes: number): number {
    this.#enter()
    return this.#kernels.clustersAtOnce(kernel, cluster, threads, sharedBytes)
  }

  /** Loads the kernels of one source file. @returns false where all were loaded */
  loadNextKernels(): boolean {
    this.capture.checkNotRecording('loading kernels')
    this.#enter()
    return this.#kernels.loadNext()
  }

  /** The address of new device memory, or undefined where there is no room. */
  allocate(bytes: number): Handle | undefined {
    return this.#allocate('cuMemAlloc', (address) => this.#driver.cuMemAlloc(address, bytes))
  }

  free(address: Handle): void {
    this.#enter()
    this.beforeBlocking()
    this.check('cuMemFree', this.#driver.cuMemFree(address))
  }

  /** The address of new page-locked host memory, or undefined where there is no room. */
  allocateHost(bytes: number): Handle | undefined {
    return this.#allocate('cuMemHostAlloc', (address) => this.#driver.cuMemHostAlloc(address, bytes, 0))
  }

  freeHost(address: Handle): void {
    this.#enter()
    this.check('cuMemFreeHost', this.#driver.cuMemFreeHost(address))
  }

  viewHost(address: Handle, bytes: number): ArrayBuffer {
    return this.#driver.viewHost(address, bytes)
  }

  /** Device memory that nobody has taken, and all there is, bytes. */
  memoryInfo(): { readonly free: number; readonly total: number } {
    this.#enter()
    const [free, total] = [new BigUint64Array(1), new BigUint64Array(1)]
    this.check('cuMemGetInfo', this.#driver.cuMemGetInfo(free, total))
    return { free: Number(free[0]), total: Number(total[0]) }
  }

  /** Queues a copy from page-locked host memory. */
  copyToDevice(target: Handle, source: Handle, bytes: number): void {
    this.capture.checkNotRecording('a copy to the device')
    this.#enter()
    this.#lastKernel = ''
    this.check('cuMemcpyHtoDAsync', this.#driver.cuMemcpyHtoDAsync(target, source, bytes, this.#stream))
  }

  /** Queues a copy to page-locked host memory. */
  copyToHost(target: Handle, source: Handle, bytes: number): void {
    this.capture.checkNotRecording('a copy to the host')
    this.#enter()
    this.#lastKernel = ''
    this.check('cuMemcpyDtoHAsync', this.#driver.cuMemcpyDtoHAsync(target, source, bytes, this.#stream))
  }

  /** Queues a copy within the device. */
  copyOnDevice(target: Handle, source: Handle, bytes: number): void {
    this.#enter()
    this.#lastKernel = ''
    this.check('cuMemcpyDtoDAsync', this.#driver.cuMemcpyDtoDAsync(target, source, bytes, this.#stream))
  }

  /** Queues setting bytes to a value. */
  fill8(address: Handle, value: number, count: number): void {
    this.#enter()
    this.#lastKernel = ''
    this.check('cuMemsetD8Async', this.#driver.cuMemsetD8Async(address, value, count, this.#stream))
  }

  /** A mark that can be waited for, or one that keeps the time. Its owner destroys it. */
  createEvent(kind: 'waitable' | 'timed' = 'waitable'): Handle {
    this.#enter()
    const event = new BigUint64Array(1)
    this.check('cuEventCreate', this.#driver.cuEventCreate(event, kind === 'timed' ? TIMED : WAITABLE))
    return event[0]
  }

  destroyEvent(event: Handle): void {
    this.#enter()
    this.check('cuEventDestroy', this.#driver.cuEventDestroy(event))
  }

  /** Queues the mark after everything queued so far. */
  recordEvent(event: Handle): void {
    this.capture.checkNotRecording('a mark in the queue')
    this.#enter()
    this.check('cuEventRecord', this.#driver.cuEventRecord(event, this.#stream))
  }

  /** Whether everything before the mark is done. */
  isReached(event: Handle): boolean {
    this.#enter()
    const result = this.#driver.cuEventQuery(event)
    if (result === Result.notReady) return false
    this.check('cuEventQuery', result)
    return true
  }

  /** Blocks the calling thread until everything before the mark is done. */
  waitFor(event: Handle): void {
    this.#enter()
    this.beforeBlocking()
    this.check('cuEventSynchronize', this.#driver.cuEventSynchronize(event))
  }

  /** Waits for the mark on a worker thread. Resolves with the driver's result, for `check`. */
  waitOnWorker(event: Handle): Promise<number> {
    return this.#driver.cuEventSynchronizeAsync(event)
  }

  /** Milliseconds between two timed marks that have been reached. */
  elapsed(start: Handle, end: Handle): number {
    this.#enter()
    const milliseconds = new Float32Array(1)
    this.check('cuEventElapsedTime', this.#driver.cuEventElapsedTime(milliseconds, start, end))
    return milliseconds[0]
  }

  /** Blocks the calling thread until everything queued is done. */
  synchronize(): void {
    this.capture.checkNotRecording('waiting for the queue')
    this.#enter()
    this.beforeBlocking()
    this.check('cuStreamSynchronize', this.#driver.cuStreamSynchronize(this.#stream))
  }

  /** Gives back what the device holds here. What was allocated is freed before, by its owner. */
  close(): void {
    if (this.#closed) return
    if (!this.#lostError) {
      this.#enter()
      this.capture.destroyAll()
      this.#kernels.unload()
      this.check('cuStreamDestroy', this.#driver.cuStreamDestroy(this.#stream))
    }
    this.#closed = true
    // Of a lost context too: with its last user gone it is destroyed, and the next backend gets a new one. Its result says nothing more.
    this.#driver.cuDevicePrimaryCtxRelease(this.info.handle)
  }

  /**
   * Takes a result of the driver.
   * @throws BackendLostError, OutOfMemoryError or CudaError for a failure
   */
  check(call: string, result: number): void {
    if (result === Result.success) return
    const text = failureText(this.#driver, call, result)
    if (isSticky(result)) throw this.#lose(text)
    if (result === Result.outOfMemory) throw new OutOfMemoryError(`${text}${this.#freeText()}. Dispose tensors, or make fewer at once.`)
    if (result === Result.unsupportedPtxVersion) {
      throw new CudaError(result, `${text}: the driver cannot compile the kernels for this GPU; update NVIDIA's driver.`)
    }
    throw new CudaError(result, `${text}. This is a mistake in @phsa/kernels-cuda; please report it.`)
  }

  /** For messages: nothing where the driver does not say. */
  #freeText(): string {
    const [free, total] = [new BigUint64Array(1), new BigUint64Array(1)]
    const known = this.#driver.cuMemGetInfo(free, total) === Result.success
    return known ? `; ${free[0]} of ${total[0]} bytes are free on the GPU` : ''
  }

  #lose(text: string): BackendLostError {
    return this.lose(
      new BackendLostError(
        `the GPU is lost: ${text}. The kernel that failed ran earlier than this call. Dispose the backend and create a new one.`,
      ),
    )
  }

  /** Makes the device lost, for whatever reason. @returns the first one */
  lose(error: BackendLostError): BackendLostError {
    if (!this.#lostError) {
      this.#lostError = error
      this.#settleLost(error)
    }
    return this.#lostError
  }

  /** Other libraries, and backends on other GPUs, may have made their context current on this thread. */
  #enter(): void {
    this.checkOpen()
    this.check('cuCtxSetCurrent', this.#driver.cuCtxSetCurrent(this.#context))
  }

  #allocate(call: string, allocate: (address: BigUint64Array) => number): Handle | undefined {
    this.#enter()
    const address = new BigUint64Array(1)
    const result = allocate(address)
    if (result === Result.outOfMemory) return undefined
    this.check(call, result)
    return address[0]
  }

  #start(call: string, make: (handle: BigUint64Array) => number): Handle {
    const handle = new BigUint64Array(1)
    this.#mustSucceed(call, make(handle))
    return handle[0]
  }

  #mustSucceed(call: string, result: number): void {
    if (result !== Result.success) throw new BackendUnavailableError(`cuda: ${this.info.name}: ${failureText(this.#driver, call, result)}.`)
  }
}
