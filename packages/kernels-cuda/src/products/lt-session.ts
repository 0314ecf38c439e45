import { OutOfMemoryError } from '@phsa/core'
import type { CublasLt } from '../driver/cublas-lt.js'
import type { Handle } from '../driver/cuda-driver.js'
import { CudaError } from '../driver/cuda-error.js'

/** What cuBLASLt needs of a device. */
export interface LtDevice {
  readonly isLost: boolean
  /** Calls a library with the device's context current; what it queues goes onto the stream. */
  withStream<T>(call: (stream: Handle) => T): T
  /** @throws BackendLostError, as every call of a device that something has broken */
  memoryInfo(): { readonly free: number; readonly total: number }
}

/** cublasStatus_t */
export const Status = { success: 0, allocationFailed: 3, executionFailed: 13, internalError: 14, notSupported: 15 } as const

/** cuBLASLt on one device: its handle, and its results as errors. */
export class LtSession {
  readonly lt: CublasLt
  readonly handle: Handle
  readonly #device: LtDevice

  /** @throws OutOfMemoryError; CudaError where cuBLASLt does not work with this GPU or driver */
  constructor(lt: CublasLt, device: LtDevice) {
    this.lt = lt
    this.#device = device
    this.handle = this.make('cublasLtCreate', (handle) => device.withStream(() => lt.cublasLtCreate(handle)))
  }

  /** Gives the handle back. */
  close(): void {
    const destroy = () => this.lt.cublasLtDestroy(this.handle)
    // What the handle had on a lost device is gone with the context.
    if (this.#device.isLost) destroy()
    else this.check('cublasLtDestroy', this.#device.withStream(destroy))
  }

  /** Something new of cuBLASLt's; its owner destroys it. */
  make(call: string, make: (handle: BigUint64Array) => number): Handle {
    const handle = new BigUint64Array(1)
    this.check(call, make(handle))
    return handle[0]
  }

  /** @throws OutOfMemoryError, BackendLostError or CudaError for a status that is no success */
  check(call: string, status: number): void {
    if (status === Status.success) return
    const text = `${call}: ${this.lt.cublasLtGetStatusName(status)} (${status}), ${this.lt.cublasLtGetStatusString(status)}`
    if (status === Status.allocationFailed) {
      throw new OutOfMemoryError(`${text}. Dispose tensors, make fewer at once, or end other programs that use the GPU.`)
    }
    // The reason may be a kernel that failed earlier: the driver says so of any call.
    if (status === Status.executionFailed || status === Status.internalError) this.#device.memoryInfo()
    throw new CudaError(status, `${text}. This is a mistake in @phsa/kernels-cuda or cuBLASLt; please report it, and give cublasLt: false.`)
  }
}
