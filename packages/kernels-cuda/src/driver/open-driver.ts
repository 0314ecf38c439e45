import { BackendUnavailableError, isPhsaError } from '@phsa/core'
import type { CudaDriver } from './cuda-driver.js'
import { driverLibrary } from './driver-library.js'

/**
 * Loads NVIDIA's driver, and what calls it, when it is asked for: where either is missing, this package can still be imported.
 * @throws BackendUnavailableError with the reason of the system's loader: no koffi, no driver, or one too old to have all functions
 */
export async function openDriver(file = driverLibrary()): Promise<CudaDriver> {
  const { loadCudaDriver } = await import('./cuda-driver.js').catch((error: unknown) => {
    throw unavailable('koffi, which calls the driver, does not load. Was it installed on this system, with its optional packages?', error)
  })
  try {
    return loadCudaDriver(file)
  } catch (error) {
    if (isPhsaError(error)) throw error
    throw unavailable(`no ${file}: is NVIDIA's driver installed?`, error)
  }
}

function unavailable(text: string, cause: unknown): BackendUnavailableError {
  return new BackendUnavailableError(`cuda: ${text} (${cause instanceof Error ? cause.message : String(cause)})`, { cause })
}
