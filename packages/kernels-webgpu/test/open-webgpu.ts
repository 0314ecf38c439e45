import { BackendUnavailableError, isPhsaError } from '@phsa/core'
import { type WebgpuModelBackend, type WebgpuOptions, webgpu } from '@phsa/kernels-webgpu'
import { type SoftwareAdapter, useSoftwareAdapter } from './software-adapter.js'

/** Flags of Dawn for the tests, such as the one that allows f16 on NVIDIA GPUs. */
const dawnFlags = process.env.PHSA_DAWN_FLAGS?.split(' ').filter(Boolean)

/** A backend on a software adapter, or on the GPU whose driver VK_DRIVER_FILES names. @throws BackendUnavailableError */
export async function openWebgpu(adapter: SoftwareAdapter = 'swiftshader', options?: WebgpuOptions): Promise<WebgpuModelBackend> {
  const missing = useSoftwareAdapter(adapter)
  if (missing) throw new BackendUnavailableError(missing)
  return webgpu({ dawnFlags, ...options })
}

/** Why WebGPU does not work here, for tests to be skipped with; undefined where it works. @throws where PHSA_REQUIRE_BACKEND asks for it */
export async function webgpuUnavailable(adapter: SoftwareAdapter = 'swiftshader'): Promise<string | undefined> {
  try {
    const backend = await openWebgpu(adapter)
    backend.dispose()
    return undefined
  } catch (error) {
    if (!isPhsaError(error, 'backend-unavailable') || process.env.PHSA_REQUIRE_BACKEND === 'webgpu') throw error
    return error.message
  }
}
