import { type AttentionBackend, BackendUnavailableError } from '@phsa/core'
import koffi from 'koffi'
import { loadCudaDriver } from '../../src/driver/cuda-driver.js'
import { openBackend } from '../../src/open-backend.js'
import { buildEmulation, missingCompiler } from './build-emulation.js'

/**
 * The whole backend over an emulated GPU: our kernels compiled for the host, behind the functions of the driver. It shows what they compute, never how fast.
 * @throws BackendUnavailableError where there is no compiler
 */
export async function emulatedCuda(): Promise<AttentionBackend> {
  const missing = missingCompiler()
  if (missing) throw new BackendUnavailableError(`cuda, emulated: ${missing}.`)
  const file = await buildEmulation()
  const kernels = (koffi.load(file).func('const char *phsa_emulated_kernels()')() as string).trim().split('\n')
  const module = { name: 'emulated', kernels, targets: ['sm_90a'], image: new Uint8Array(1) }
  return openBackend(loadCudaDriver(file), { leastDriver: 13000, modules: [module] }, 0)
}
