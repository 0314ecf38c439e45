import { BackendUnavailableError } from '@phsa/core'
import koffi, { type LibraryHandle, type TypeObject } from 'koffi'
import type { Handle } from './cuda-driver.js'
import { LEAST_NCCL, NcclResult, UNIQUE_ID_BYTES } from './nccl-config.js'

/**
 * The native boundary to NVIDIA's library of collective operations: every function of NCCL that this package calls, by its own name. Functions
 * return an ncclResult_t (see `NcclResult`) and leave results in the typed arrays they are given. Tests implement it without a GPU.
 */
export interface Nccl {
  /** 10,000 * major + 100 * minor + patch. */
  ncclGetVersion(version: Int32Array): number
  /** @param id UNIQUE_ID_BYTES, made by one rank and handed to all */
  ncclGetUniqueId(id: Uint8Array): number
  /** Begins; `ncclCommGetAsyncError` says when it is done. In the context that is current on this thread. @param config `nonBlockingConfig` */
  ncclCommInitRankConfig(communicator: BigUint64Array, size: number, id: Uint8Array, rank: number, config: Uint8Array): number
  /** How the last call, or a transfer under way, stands. */
  ncclCommGetAsyncError(communicator: Handle, result: Int32Array): number
  /** Begins to end everything under way. */
  ncclCommFinalize(communicator: Handle): number
  /** Frees a communicator that was finalized, on a worker thread. */
  ncclCommDestroy(communicator: Handle): Promise<number>
  /** Ends what is under way, kernels included, and frees the communicator, on a worker thread. */
  ncclCommAbort(communicator: Handle): Promise<number>
  /** Calls up to `ncclGroupEnd` are one operation. */
  ncclGroupStart(): number
  ncclGroupEnd(): number
  ncclAllReduce(
    source: Handle,
    target: Handle,
    count: number,
    type: number,
    operation: number,
    communicator: Handle,
    stream: Handle,
  ): number
  /** The result in words. */
  ncclGetErrorString(result: number): string
  /** More about the last failure, of any communicator; may be empty. */
  ncclGetLastError(): string
}

type BoundFunction = ReturnType<LibraryHandle['func']>

/**
 * Opens NCCL.
 * @throws Error of the loader where there is no such file; BackendUnavailableError where it lacks a function or is older than 2.18
 */
export function loadNccl(file: string): Nccl {
  const library = koffi.load(file)
  const bind = (name: string, ...parameters: (string | TypeObject)[]): BoundFunction => {
    try {
      return library.func(name, 'int', parameters)
    } catch (cause) {
      throw new BackendUnavailableError(`cuda: ${file} has no ${name}; it is no NCCL, or one older than 2.18.`, { cause })
    }
  }
  const onWorker = (bound: BoundFunction) => (communicator: Handle) =>
    new Promise<number>((resolve, reject) => {
      bound.async(communicator, (error: unknown, result: number) => (error ? reject(error) : resolve(result)))
    })
  // Passed by value.
  const uniqueId = koffi.struct({ internal: koffi.array('uint8', UNIQUE_ID_BYTES) })
  const initialize = bind('ncclCommInitRankConfig', 'void *', 'int', uniqueId, 'int', 'void *')
  const nccl: Nccl = {
    ncclGetVersion: bind('ncclGetVersion', 'void *'),
    ncclGetUniqueId: bind('ncclGetUniqueId', 'void *'),
    ncclCommInitRankConfig: (communicator, size, id, rank, config) => initialize(communicator, size, { internal: id }, rank, config),
    ncclCommGetAsyncError: bind('ncclCommGetAsyncError', 'uint64', 'void *'),
    ncclCommFinalize: bind('ncclCommFinalize', 'uint64'),
    ncclCommDestroy: onWorker(bind('ncclCommDestroy', 'uint64')),
    ncclCommAbort: onWorker(bind('ncclCommAbort', 'uint64')),
    ncclGroupStart: bind('ncclGroupStart'),
    ncclGroupEnd: bind('ncclGroupEnd'),
    ncclAllReduce: bind('ncclAllReduce', 'uint64', 'uint64', 'size_t', 'int', 'int', 'uint64', 'uint64'),
    ncclGetErrorString: library.func('ncclGetErrorString', 'str', ['int']),
    ncclGetLastError: bindLastError(library),
  }
  requireVersion(nccl, file)
  return nccl
}

function bindLastError(library: LibraryHandle): () => string {
  const describe = library.func('ncclGetLastError', 'str', ['uint64'])
  return () => describe(0n) ?? ''
}

function requireVersion(nccl: Nccl, file: string): void {
  const version = new Int32Array(1)
  const result = nccl.ncclGetVersion(version)
  if (result === NcclResult.success && version[0] >= LEAST_NCCL) return
  throw new BackendUnavailableError(
    `cuda: ${file} is NCCL ${versionText(version[0])}; a group of several GPUs needs 2.18 or newer. Install nvidia-nccl of CUDA 13 or 12.`,
  )
}

/** 21805 is 2.18.5. */
function versionText(version: number): string {
  return `${Math.floor(version / 10_000)}.${Math.floor((version % 10_000) / 100)}.${version % 100}`
}
