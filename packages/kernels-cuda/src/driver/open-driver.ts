import { BackendUnavailableError } from '@phsa/core'
import type { CudaDriver } from './cuda-driver.js'
import { driverLibrary } from './driver-library.js'

/**
 * Loads NVIDIA's driver, and what calls it, when it is asked for: where either is missing, this package can still be imported.
 * @throws BackendUnavailableError with the reason of the system's loader
 */
export async function openDriver(file = driverLibrary()): Promise<CudaDriver> {
  try {
    const { loadCudaDriver } = await import('./cuda-driver.js')
    return loadCudaDriver(file)
  } catch (error) {
    const text = error instanceof Error ? error.message : String(error)
    throw new BackendUnavailableError(`cuda: no ${file}: is NVIDIA's driver installed? (${text})`, { cause: error })
  }
}
