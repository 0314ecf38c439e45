import { CudaBackend } from './cuda-backend.js'
import type { CudaDriver } from './driver/cuda-driver.js'
import { Device } from './driver/device.js'
import { findDevice } from './driver/find-device.js'
import type { KernelArchive } from './driver/kernel-archive.js'
import type { CublasLtSource } from './products/open-products.js'

/**
 * The backend over a driver and kernels that are given: what `cuda` does once it has found them.
 * @param cublasLt without it, matrix products are computed by kernels of this package
 * @param persistentDecode as of `CudaOptions`
 * @throws BackendUnavailableError with the reason
 */
export function openBackend(
  driver: CudaDriver,
  archive: KernelArchive,
  ordinal: number,
  cublasLt: CublasLtSource = false,
  persistentDecode = false,
): CudaBackend {
  return new CudaBackend(new Device(driver, findDevice(driver, ordinal, archive.leastDriver), archive), cublasLt, persistentDecode)
}
