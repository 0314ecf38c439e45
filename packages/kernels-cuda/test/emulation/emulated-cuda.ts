import { BackendUnavailableError, type ModelBackend } from '@phsa/core'
import koffi from 'koffi'
import { groupPlace } from '../../src/collective/group-place.js'
import { type CudaDriver, loadCudaDriver } from '../../src/driver/cuda-driver.js'
import { findNccl } from '../../src/driver/find-nccl.js'
import type { KernelArchive } from '../../src/driver/kernel-archive.js'
import { openBackend } from '../../src/open-backend.js'
import { buildEmulation, missingCompiler } from './build-emulation.js'

/**
 * The whole backend over an emulated GPU: our kernels compiled for the host, behind the functions of the driver. It shows what they compute, never how fast.
 * @param persistentDecode as of `CudaOptions`
 * @throws BackendUnavailableError where there is no compiler
 */
export async function emulatedCuda(persistentDecode = false): Promise<ModelBackend> {
  const { driver, archive } = await emulatedMachine()
  const backend = openBackend(driver, archive, 0, false, persistentDecode)
  await backend.join({ place: groupPlace({ rank: 0, size: 1 }), findNccl: () => findNccl('a group of one needs none') })
  return backend
}

/** The driver of an emulated GPU, and all kernels for it. @throws BackendUnavailableError where there is no compiler */
export async function emulatedMachine(): Promise<{ readonly driver: CudaDriver; readonly archive: KernelArchive }> {
  const missing = missingCompiler()
  if (missing) throw new BackendUnavailableError(`cuda, emulated: ${missing}.`)
  const file = await buildEmulation()
  const kernels = (koffi.load(file).func('const char *phsa_emulated_kernels()')() as string).trim().split('\n')
  const module = { name: 'emulated', kernels, targets: ['sm_90a'], image: new Uint8Array(1) }
  return { driver: loadCudaDriver(file), archive: { leastDriver: 13000, modules: [module] } }
}
