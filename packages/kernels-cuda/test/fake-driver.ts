import type { CudaDriver, Extents } from '../src/driver/cuda-driver.js'
import type { KernelArchive } from '../src/driver/kernel-archive.js'
import { isSticky, Result } from '../src/driver/result-codes.js'
import { runFakeKernel } from './fake-kernels.js'
import { type FakeMachine, fakeArchive } from './fake-machine.js'
import { FakeMemory, type MemoryKind } from './fake-memory.js'
import { FakeRecordings, type Work } from './fake-recordings.js'

export { type FakeMachine, fakeArchive }

const CAPTURE_UNSUPPORTED = 900
const CAPTURE_INVALIDATED = 901

/**
 * NVIDIA's driver in the memory of JavaScript, for tests without a GPU: it keeps books of everything that is taken and given back, runs queued
 * work at once, or when somebody waits for it, and fails where it is told to. Kernels do nothing but one of `kernels/memory.cu`. What a GPU refuses while
 * its stream is recorded ends the recording here too, and so does what a recording should do without.
 */
export class FakeDriver implements CudaDriver {
  readonly machine: Required<FakeMachine>
  /** Name of every call, in order. */
  readonly calls: string[] = []
  /** Results that calls will have, first come first served, by name; where there are none they succeed. */
  readonly failures = new Map<string, number[]>()
  readonly launches: { kernel: string; grid: Extents; threads: number; sharedBytes: number; params: Uint8Array }[] = []
  readonly memory = new FakeMemory()
  readonly events = new Map<bigint, 'new' | 'queued' | 'reached'>()
  readonly streams = new Set<bigint>()
  readonly modules = new Set<bigint>()
  readonly recordings = new FakeRecordings()
  contexts = 0
  /** While true, queued work runs only where somebody waits for it. */
  isBusy = false
  readonly #kernels = new Map<bigint, string>()
  readonly #queue: Work[] = []
  readonly #archive: KernelArchive
  #sticky = 0

  constructor(machine: FakeMachine = {}, archive: KernelArchive = fakeArchive()) {
    this.machine = { version: 13000, devices: 1, capability: 90, deviceBytes: 2 ** 30, workersFail: false, ...machine }
    this.#archive = archive
  }

  /** Device bytes that are taken. */
  get deviceBytes(): number {
    return this.memory.taken('device')
  }

  get hostBytes(): number {
    return this.memory.taken('host')
  }

  /** Runs what is queued. */
  drain(): void {
    for (const work of this.#queue.splice(0)) work()
  }

  cuInit(): number {
    return this.#result('cuInit')
  }

  cuDriverGetVersion(version: Int32Array): number {
    version[0] = this.machine.version
    return this.#result('cuDriverGetVersion')
  }

  cuDeviceGetCount(count: Int32Array): number {
    count[0] = this.machine.devices
    return this.#result('cuDeviceGetCount')
  }

  cuDeviceGet(device: Int32Array, ordinal: number): number {
    device[0] = ordinal
    return this.#result('cuDeviceGet')
  }

  cuDeviceGetName(name: Uint8Array): number {
    name.set(new TextEncoder().encode('Fake GPU\0'))
    return this.#result('cuDeviceGetName')
  }

  cuDeviceGetAttribute(value: Int32Array, attribute: number): number {
    const { capability } = this.machine
    const values: Record<number, number> = { 16: 132, 97: 232448, 75: Math.floor(capability / 10), 76: capability % 10 }
    value[0] = values[attribute]
    return this.#result('cuDeviceGetAttribute')
  }

  cuDeviceTotalMem(bytes: BigUint64Array): number {
    bytes[0] = BigInt(this.machine.deviceBytes)
    return this.#result('cuDeviceTotalMem')
  }

  cuDevicePrimaryCtxRetain(context: BigUint64Array): number {
    return this.#make('cuDevicePrimaryCtxRetain', context, () => this.contexts++)
  }

  cuDevicePrimaryCtxRelease(): number {
    this.contexts--
    this.calls.push('cuDevicePrimaryCtxRelease')
    if (this.contexts === 0) this.#sticky = 0
    return Result.success
  }

  cuCtxSetCurrent(): number {
    // Switching contexts tells nothing of their state.
    return this.#queued('cuCtxSetCurrent')
  }

  cuModuleLoadData(module: BigUint64Array, image: Uint8Array): number {
    if (this.recordings.isOpen) return this.#refuse('cuModuleLoadData')
    return this.#make('cuModuleLoadData', module, (handle) => {
      this.modules.add(handle)
      for (const { kernels, image: known } of this.#archive.modules) {
        if (known === image) for (const kernel of kernels) this.#kernels.set(this.memory.takeHandle(), kernel)
      }
    })
  }

  cuModuleUnload(module: bigint): number {
    this.modules.delete(module)
    return this.#result('cuModuleUnload')
  }

  cuModuleGetFunction(kernel: BigUint64Array, _module: bigint, name: string): number {
    const found = [...this.#kernels].find(([, known]) => known === name)
    if (!found) return Result.notFound
    kernel[0] = found[0]
    return this.#result('cuModuleGetFunction')
  }

  cuFuncSetAttribute(_kernel: bigint, _attribute: number, value: number): number {
    return value > 232448 ? 1 : this.#result('cuFuncSetAttribute')
  }

  cuLaunchKernel(handle: bigint, grid: Extents, threads: number, sharedBytes: number, _stream: bigint, params: Uint8Array): number {
    const kernel = this.#kernels.get(handle)
    if (kernel === undefined) return 400
    const launch = { kernel, grid, threads, sharedBytes, params: params.slice() }
    this.launches.push(launch)
    return this.#queued('cuLaunchKernel', () => runFakeKernel(kernel, launch.params, this.memory))
  }

  cuLaunchKernelEx(handle: bigint, grid: Extents, threads: number, sharedBytes: number, stream: bigint, params: Uint8Array): number {
    return this.cuLaunchKernel(handle, grid, threads, sharedBytes, stream, params)
  }

  cuOccupancyMaxActiveClusters(count: Int32Array): number {
    count[0] = 1
    return this.#result('cuOccupancyMaxActiveClusters')
  }

  cuMemAlloc(address: BigUint64Array, bytes: number): number {
    const result = this.#result('cuMemAlloc')
    if (result !== Result.success) return result
    if (this.deviceBytes + bytes > this.machine.deviceBytes) return Result.outOfMemory
    address[0] = this.memory.take('device', bytes)
    return result
  }

  cuMemFree(address: bigint): number {
    // The driver waits for the GPU here.
    this.drain()
    return this.#free('cuMemFree', address, 'device')
  }

  cuMemGetInfo(free: BigUint64Array, total: BigUint64Array): number {
    free[0] = BigInt(this.machine.deviceBytes - this.deviceBytes)
    total[0] = BigInt(this.machine.deviceBytes)
    return this.#result('cuMemGetInfo')
  }

  cuMemHostAlloc(address: BigUint64Array, bytes: number): number {
    const result = this.#result('cuMemHostAlloc')
    if (result === Result.success) address[0] = this.memory.take('host', bytes)
    return result
  }

  cuMemFreeHost(address: bigint): number {
    return this.#free('cuMemFreeHost', address, 'host')
  }

  cuMemcpyHtoDAsync(target: bigint, source: bigint, bytes: number): number {
    return this.#copy('cuMemcpyHtoDAsync', target, source, bytes)
  }

  cuMemcpyDtoHAsync(target: bigint, source: bigint, bytes: number): number {
    return this.#copy('cuMemcpyDtoHAsync', target, source, bytes)
  }

  cuMemcpyDtoDAsync(target: bigint, source: bigint, bytes: number): number {
    return this.#copy('cuMemcpyDtoDAsync', target, source, bytes)
  }

  cuMemsetD8Async(target: bigint, value: number, count: number): number {
    return this.#queued('cuMemsetD8Async', () => this.memory.at(target, count).fill(value))
  }

  cuStreamCreate(stream: BigUint64Array): number {
    return this.#make('cuStreamCreate', stream, (handle) => this.streams.add(handle))
  }

  cuStreamCreateWithPriority(stream: BigUint64Array): number {
    return this.cuStreamCreate(stream)
  }

  cuStreamQuery(): number {
    return this.#queue.length > 0 ? Result.notReady : this.#result('cuStreamQuery')
  }

  cuStreamWaitEvent(): number {
    return this.#result('cuStreamWaitEvent')
  }

  cuStreamDestroy(stream: bigint): number {
    this.streams.delete(stream)
    return this.#result('cuStreamDestroy')
  }

  cuStreamSynchronize(): number {
    if (this.recordings.isOpen) return this.#refuse('cuStreamSynchronize')
    this.drain()
    return this.#result('cuStreamSynchronize')
  }

  cuEventCreate(event: BigUint64Array): number {
    return this.#make('cuEventCreate', event, (handle) => this.events.set(handle, 'new'))
  }

  cuEventDestroy(event: bigint): number {
    if (!this.events.delete(event)) throw new Error('an event is destroyed twice')
    return this.#result('cuEventDestroy')
  }

  cuEventRecord(event: bigint): number {
    if (this.recordings.isOpen) return this.#refuse('cuEventRecord')
    this.events.set(event, 'queued')
    return this.#queued('cuEventRecord', () => this.events.set(event, 'reached'))
  }

  cuEventQuery(event: bigint): number {
    if (this.events.get(event) === 'queued' && this.#sticky === 0) return Result.notReady
    return this.#result('cuEventQuery')
  }

  cuEventSynchronize(): number {
    this.drain()
    return this.#result('cuEventSynchronize')
  }

  async cuEventSynchronizeAsync(): Promise<number> {
    await new Promise((resolve) => setImmediate(resolve))
    if (this.machine.workersFail) {
      // The GPU goes on meanwhile.
      setImmediate(() => this.drain())
      return Result.invalidContext
    }
    this.drain()
    return this.#result('cuEventSynchronizeAsync')
  }

  cuEventElapsedTime(milliseconds: Float32Array): number {
    milliseconds[0] = 1
    return this.#result('cuEventElapsedTime')
  }

  cuStreamBeginCapture(): number {
    const result = this.#result('cuStreamBeginCapture')
    if (result === Result.success) this.recordings.begin()
    return result
  }

  cuStreamEndCapture(_stream: bigint, graph: BigUint64Array): number {
    const work = this.recordings.end()
    if (!work) return CAPTURE_INVALIDATED
    return this.#make('cuStreamEndCapture', graph, (handle) => this.recordings.keep(handle, 'graph', work))
  }

  cuGraphInstantiate(executable: BigUint64Array, graph: bigint): number {
    const work = this.recordings.workOf(graph, 'graph')
    return this.#make('cuGraphInstantiate', executable, (handle) => this.recordings.keep(handle, 'executable', work))
  }

  cuGraphDestroy(graph: bigint): number {
    this.recordings.drop(graph, 'graph')
    return this.#result('cuGraphDestroy')
  }

  cuGraphLaunch(executable: bigint): number {
    const work = this.recordings.workOf(executable, 'executable')
    return this.#queued('cuGraphLaunch', () => {
      for (const each of work) each()
    })
  }

  cuGraphExecDestroy(executable: bigint): number {
    this.recordings.drop(executable, 'executable')
    return this.#result('cuGraphExecDestroy')
  }

  cuGetErrorName(result: number): string {
    return `ERROR_${result}`
  }

  cuGetErrorString(result: number): string {
    return `what ${result} means`
  }

  viewHost(address: bigint, bytes: number): ArrayBuffer {
    return this.memory.view(address, bytes)
  }

  #free(call: string, address: bigint, kind: MemoryKind): number {
    const result = this.#result(call)
    if (result === Result.success) this.memory.free(call, address, kind)
    return result
  }

  #copy(call: string, target: bigint, source: bigint, bytes: number): number {
    return this.#queued(call, () => this.memory.at(target, bytes).set(this.memory.at(source, bytes)))
  }

  #make(call: string, handle: BigUint64Array, register: (handle: bigint) => void): number {
    const result = this.#result(call)
    if (result !== Result.success) return result
    handle[0] = this.memory.takeHandle()
    register(handle[0])
    return result
  }

  #queued(call: string, work?: Work): number {
    const result = this.#result(call)
    if (result !== Result.success || !work) return result
    if (this.recordings.isOpen) {
      this.recordings.add(work)
      return result
    }
    this.#queue.push(work)
    if (!this.isBusy) this.drain()
    return result
  }

  #refuse(call: string): number {
    this.calls.push(call)
    this.recordings.spoil()
    return CAPTURE_UNSUPPORTED
  }

  #result(call: string): number {
    this.calls.push(call)
    if (this.#sticky !== 0) return this.#sticky
    const result = this.failures.get(call)?.shift() ?? Result.success
    if (isSticky(result)) this.#sticky = result
    return result
  }
}
