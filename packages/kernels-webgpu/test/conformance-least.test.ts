import { BackendUnavailableError } from '@phsa/core'
import { describeBackend } from '@phsa/core/testing/vitest'
import { webgpu } from '@phsa/kernels-webgpu'
import { vi } from 'vitest'
import { dawn } from '../src/device/dawn.js'
import { chosenCases, LEAST_CASES } from './chosen-cases.js'
import { useSoftwareAdapter } from './software-adapter.js'

// Software adapters compile for seconds, on a busy machine for minutes.
vi.setConfig({ testTimeout: 300_000 })

/** A device that was asked for nothing: no subgroups, no f16, 16 KiB of workgroup memory and bindings of 128 MiB. */
async function leastDevice(): Promise<GPUDevice> {
  const missing = useSoftwareAdapter('swiftshader')
  const adapter = missing ? null : await (await dawn([])).requestAdapter()
  if (!adapter) throw new BackendUnavailableError(missing ?? 'WebGPU of Node has no adapter')
  return adapter.requestDevice()
}

describeBackend('webgpu-least', {
  create: async () => webgpu({ device: await leastDevice() }),
  filter: chosenCases('PHSA_LEAST_CASES', LEAST_CASES),
})
