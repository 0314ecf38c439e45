import { BackendUnavailableError } from '@phsa/core'
import koffi, { type LibraryHandle } from 'koffi'
import { driverLibrary, UPDATE_DRIVER } from './driver-library.js'

/** Handle or address as the driver hands it out; 0n is null. */
export type Handle = bigint

/** Extents of a grid or block of threads. */
export type Extents = readonly [number, number, number]

/**
 * How a kernel is launched otherwise than usual: all thread blocks at once, because they wait for each other, or not at all; or before the kernel in front of
 * it in the stream has ended, for which it waits by itself (compute capability 9.0).
 */
export type LaunchWay = 'together' | 'early'

/**
 * The native boundary: every function of NVIDIA's driver that this package calls, by its own name, and nothing else. Functions return a
 * CUresult (0 is success, see `result-codes.ts`) and leave results in the typed arrays they are given. Tests implement it without a GPU.
 */
export interface CudaDriver {
  cuInit(flags: number): number
  /** 1000 * major + 10 * minor of the newest CUDA that the driver serves. */
  cuDriverGetVersion(version: Int32Array): number
  cuDeviceGetCount(count: Int32Array): number
  cuDeviceGet(device: Int32Array, ordinal: number): number
  /** A text ended by a zero byte. */
  cuDeviceGetName(name: Uint8Array, device: number): number
  cuDeviceGetAttribute(value: Int32Array, attribute: number, device: number): number
  cuDeviceTotalMem(bytes: BigUint64Array, device: number): number
  cuDevicePrimaryCtxRetain(context: BigUint64Array, device: number): number
  cuDevicePrimaryCtxRelease(device: number): number
  cuCtxSetCurrent(context: Handle): number

  /** Loads a fatbin, cubin or PTX text. */
  cuModuleLoadData(module: BigUint64Array, image: Uint8Array): number
  cuModuleUnload(module: Handle): number
  cuModuleGetFunction(kernel: BigUint64Array, module: Handle, name: string): number
  cuFuncSetAttribute(kernel: Handle, attribute: number, value: number): number
  /** @param params all arguments, packed as the kernel's parameter struct; copied before the call returns */
  cuLaunchKernel(kernel: Handle, grid: Extents, threads: number, sharedBytes: number, stream: Handle, params: Uint8Array): number
  /** The same in another way than usual. */
  cuLaunchKernelEx(
    kernel: Handle,
    grid: Extents,
    threads: number,
    sharedBytes: number,
    stream: Handle,
    params: Uint8Array,
    way: LaunchWay,
  ): number
  /** How many clusters of so many thread blocks run at once where nothing else does. */
  cuOccupancyMaxActiveClusters(count: Int32Array, kernel: Handle, cluster: number, threads: number, sharedBytes: number): number

  cuMemAlloc(address: BigUint64Array, bytes: number): number
  cuMemFree(address: Handle): number
  cuMemGetInfo(free: BigUint64Array, total: BigUint64Array): number
  /** Page-locked host memory, which copies run to and from without the host. */
  cuMemHostAlloc(address: BigUint64Array, bytes: number, flags: number): number
  cuMemFreeHost(address: Handle): number
  cuMemcpyHtoDAsync(target: Handle, source: Handle, bytes: number, stream: Handle): number
  cuMemcpyDtoHAsync(target: Handle, source: Handle, bytes: number, stream: Handle): number
  cuMemcpyDtoDAsync(target: Handle, source: Handle, bytes: number, stream: Handle): number
  cuMemsetD8Async(target: Handle, value: number, count: number, stream: Handle): number

  cuStreamCreate(stream: BigUint64Array, flags: number): number
  /** A lower number goes first; what is out of range is the nearest in it. */
  cuStreamCreateWithPriority(stream: BigUint64Array, flags: number, priority: number): number
  cuStreamDestroy(stream: Handle): number
  /** Success where all of its work is done. */
  cuStreamQuery(stream: Handle): number
  /** What is queued from here on waits for the event. */
  cuStreamWaitEvent(stream: Handle, event: Handle, flags: number): number
  cuStreamSynchronize(stream: Handle): number
  cuEventCreate(event: BigUint64Array, flags: number): number
  cuEventDestroy(event: Handle): number
  cuEventRecord(event: Handle, stream: Handle): number
  cuEventQuery(event: Handle): number
  cuEventSynchronize(event: Handle): number
  /** The same on a worker thread. */
  cuEventSynchronizeAsync(event: Handle): Promise<number>
  cuEventElapsedTime(milliseconds: Float32Array, start: Handle, end: Handle): number

  /** From here on the stream's work is recorded and not run. */
  cuStreamBeginCapture(stream: Handle, mode: number): number
  cuStreamEndCapture(stream: Handle, graph: BigUint64Array): number
  cuGraphInstantiate(executable: BigUint64Array, graph: Handle, flags: bigint): number
  cuGraphDestroy(graph: Handle): number
  cuGraphLaunch(executable: Handle, stream: Handle): number
  /** One that runs is freed when it is done. */
  cuGraphExecDestroy(executable: Handle): number

  /** The name of a result, such as CUDA_ERROR_OUT_OF_MEMORY. */
  cuGetErrorName(result: number): string
  /** The result in words. */
  cuGetErrorString(result: number): string

  /** Host memory at an address as a buffer of JavaScript, valid until it is freed. No function of the driver. */
  viewHost(address: Handle, bytes: number): ArrayBuffer
}

/** Parameters of a kernel may take 4 KB on every GPU. */
const PARAMS_BYTES = 4096
const LAUNCH_PARAM_BUFFER_POINTER = 1n
const LAUNCH_PARAM_BUFFER_SIZE = 2n
const LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION = 4
/** CU_LAUNCH_ATTRIBUTE_COOPERATIVE and CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION. */
const LAUNCH_ATTRIBUTES: Readonly<Record<LaunchWay, number>> = { together: 2, early: 6 }
/** Bytes of a CUlaunchAttribute. */
const ATTRIBUTE_BYTES = 72

// C types of arguments.
const HANDLE = 'uint64'
const SIZE = 'uint64'
const OUT = 'void *'

type BoundFunction = ReturnType<LibraryHandle['func']>
type Bind = (name: string, ...parameters: string[]) => BoundFunction

/**
 * Opens the driver's library, or another one with its functions.
 * @throws Error of the loader where there is none
 * @throws BackendUnavailableError where it lacks a function
 */
export function loadCudaDriver(file = driverLibrary()): CudaDriver {
  const library = koffi.load(file)
  // Where the argument type is `void *`, a typed array is passed by its address: nothing is copied, results are written into it.
  const bind: Bind = (name, ...parameters) => requireFunction(file, name, () => library.func(name, 'int', parameters))
  const eventSynchronize = bind('cuEventSynchronize', HANDLE)
  const bindText = (name: string) => {
    const describe = requireFunction(file, name, () => library.func(`int ${name}(int result, _Out_ const char **text)`))
    return (result: number): string => {
      const text: (string | null)[] = [null]
      describe(result, text)
      return text[0] ?? `CUDA result ${result}`
    }
  }
  return {
    cuInit: bind('cuInit', 'uint'),
    cuDriverGetVersion: bind('cuDriverGetVersion', OUT),
    cuDeviceGetCount: bind('cuDeviceGetCount', OUT),
    cuDeviceGet: bind('cuDeviceGet', OUT, 'int'),
    cuDeviceGetName: withLength(bind('cuDeviceGetName', OUT, 'int', 'int')),
    cuDeviceGetAttribute: bind('cuDeviceGetAttribute', OUT, 'int', 'int'),
    cuDeviceTotalMem: bind('cuDeviceTotalMem_v2', OUT, 'int'),
    cuDevicePrimaryCtxRetain: bind('cuDevicePrimaryCtxRetain', OUT, 'int'),
    cuDevicePrimaryCtxRelease: bind('cuDevicePrimaryCtxRelease_v2', 'int'),
    cuCtxSetCurrent: bind('cuCtxSetCurrent', HANDLE),
    cuModuleLoadData: bind('cuModuleLoadData', OUT, 'void *'),
    cuModuleUnload: bind('cuModuleUnload', HANDLE),
    cuModuleGetFunction: bind('cuModuleGetFunction', OUT, HANDLE, 'str'),
    cuFuncSetAttribute: bind('cuFuncSetAttribute', HANDLE, 'int', 'int'),
    ...bindLaunches(bind),
    cuOccupancyMaxActiveClusters: bindClusters(bind),
    cuMemAlloc: bind('cuMemAlloc_v2', OUT, SIZE),
    cuMemFree: bind('cuMemFree_v2', HANDLE),
    cuMemGetInfo: bind('cuMemGetInfo_v2', OUT, OUT),
    cuMemHostAlloc: bind('cuMemHostAlloc', OUT, SIZE, 'uint'),
    cuMemFreeHost: bind('cuMemFreeHost', HANDLE),
    cuMemcpyHtoDAsync: bind('cuMemcpyHtoDAsync_v2', HANDLE, HANDLE, SIZE, HANDLE),
    cuMemcpyDtoHAsync: bind('cuMemcpyDtoHAsync_v2', HANDLE, HANDLE, SIZE, HANDLE),
    cuMemcpyDtoDAsync: bind('cuMemcpyDtoDAsync_v2', HANDLE, HANDLE, SIZE, HANDLE),
    cuMemsetD8Async: bind('cuMemsetD8Async', HANDLE, 'uint8', SIZE, HANDLE),
    cuStreamCreate: bind('cuStreamCreate', OUT, 'uint'),
    cuStreamCreateWithPriority: bind('cuStreamCreateWithPriority', OUT, 'uint', 'int'),
    cuStreamDestroy: bind('cuStreamDestroy_v2', HANDLE),
    cuStreamQuery: bind('cuStreamQuery', HANDLE),
    cuStreamWaitEvent: bind('cuStreamWaitEvent', HANDLE, HANDLE, 'uint'),
    cuStreamSynchronize: bind('cuStreamSynchronize', HANDLE),
    cuEventCreate: bind('cuEventCreate', OUT, 'uint'),
    cuEventDestroy: bind('cuEventDestroy_v2', HANDLE),
    cuEventRecord: bind('cuEventRecord', HANDLE, HANDLE),
    cuEventQuery: bind('cuEventQuery', HANDLE),
    cuEventSynchronize: eventSynchronize,
    cuEventSynchronizeAsync: (event) =>
      new Promise((resolve, reject) => {
        eventSynchronize.async(event, (error: unknown, result: number) => (error ? reject(error) : resolve(result)))
      }),
    cuEventElapsedTime: bind('cuEventElapsedTime', OUT, HANDLE, HANDLE),
    cuStreamBeginCapture: bind('cuStreamBeginCapture_v2', HANDLE, 'int'),
    cuStreamEndCapture: bind('cuStreamEndCapture', HANDLE, OUT),
    cuGraphInstantiate: bind('cuGraphInstantiateWithFlags', OUT, HANDLE, 'uint64'),
    cuGraphDestroy: bind('cuGraphDestroy', HANDLE),
    cuGraphLaunch: bind('cuGraphLaunch', HANDLE, HANDLE),
    cuGraphExecDestroy: bind('cuGraphExecDestroy', HANDLE),
    cuGetErrorName: bindText('cuGetErrorName'),
    cuGetErrorString: bindText('cuGetErrorString'),
    viewHost: (address, bytes) => koffi.view(address, bytes),
  }
}

function requireFunction(file: string, name: string, bind: () => BoundFunction): BoundFunction {
  try {
    return bind()
  } catch (cause) {
    throw new BackendUnavailableError(`cuda: ${file} is too old: it has no ${name}. ${UPDATE_DRIVER}`, { cause })
  }
}

function withLength(bound: BoundFunction): CudaDriver['cuDeviceGetName'] {
  return (name, device) => bound(name, name.length, device)
}

/** Arguments go as one packed buffer in native memory that is used again: an array of pointers to each costs three times as much. */
function bindLaunches(bind: Bind): Pick<CudaDriver, 'cuLaunchKernel' | 'cuLaunchKernelEx'> {
  const launch = bind('cuLaunchKernel', HANDLE, ...Array<string>(7).fill('uint'), HANDLE, 'void *', 'void *')
  const launchWith = bind('cuLaunchKernelEx', 'void *', HANDLE, 'void *', 'void *')
  const params = koffi.alloc('uint8', PARAMS_BYTES) as bigint
  const bytes = new Uint8Array(koffi.view(params, PARAMS_BYTES))
  const size = BigUint64Array.of(0n)
  const extra = BigUint64Array.of(LAUNCH_PARAM_BUFFER_POINTER, params, LAUNCH_PARAM_BUFFER_SIZE, koffi.address(size), 0n)
  const configs = { together: launchConfig(LAUNCH_ATTRIBUTES.together, 1), early: launchConfig(LAUNCH_ATTRIBUTES.early, 1) }
  return {
    cuLaunchKernel(kernel, [x, y, z], threads, sharedBytes, stream, packed) {
      bytes.set(packed)
      size[0] = BigInt(packed.length)
      return launch(kernel, x, y, z, threads, 1, 1, sharedBytes, stream, null, extra)
    },
    cuLaunchKernelEx(kernel, grid, threads, sharedBytes, stream, packed, way) {
      const { config, wide } = configs[way]
      bytes.set(packed)
      size[0] = BigInt(packed.length)
      config.set([...grid, threads, 1, 1, sharedBytes])
      wide[4] = stream
      return launchWith(config, kernel, null, extra)
    },
  }
}

/** A CUlaunchConfig with one attribute, by numbers of 32 and 64 bits: grid, block, bytes of shared memory, stream, attributes, their count. */
function launchConfig(kind: number, ...values: number[]) {
  // CUlaunchAttribute: a number, 4 bytes of nothing, a union of 64 bytes. In native memory, because nothing here keeps it from the garbage collector.
  const attribute = koffi.alloc('uint8', ATTRIBUTE_BYTES) as bigint
  const words = new Uint32Array(koffi.view(attribute, ATTRIBUTE_BYTES))
  words.set([kind, 0, ...values])
  const config = new Uint32Array(14)
  const wide = new BigUint64Array(config.buffer)
  wide[5] = attribute
  config[12] = 1
  return { config, wide, words }
}

function bindClusters(bind: Bind): CudaDriver['cuOccupancyMaxActiveClusters'] {
  const occupancy = bind('cuOccupancyMaxActiveClusters', OUT, HANDLE, 'void *')
  const { config, words } = launchConfig(LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION, 1, 1, 1)
  return (count, kernel, cluster, threads, sharedBytes) => {
    words[2] = cluster
    config.set([cluster, 1, 1, threads, 1, 1, sharedBytes])
    return occupancy(count, kernel, config)
  }
}
