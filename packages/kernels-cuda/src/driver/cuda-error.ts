import { PhsaError } from '@phsa/core'
import type { CudaDriver } from './cuda-driver.js'

/** A call of the driver or of cuBLASLt failed in a way that no other error stands for: a mistake in this package, or something that they refuse. */
export class CudaError extends PhsaError {
  /** CUresult, or cublasStatus_t. */
  readonly result: number

  constructor(result: number, message: string, options?: ErrorOptions) {
    super('cuda', message, options)
    this.result = result
  }
}

/** A failed call in words: `cuLaunchKernel: CUDA_ERROR_INVALID_VALUE (1), invalid argument`. */
export function failureText(driver: CudaDriver, call: string, result: number): string {
  return `${call}: ${driver.cuGetErrorName(result)} (${result}), ${driver.cuGetErrorString(result)}`
}
