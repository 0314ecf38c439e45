import { findGpu, type GpuChoice } from './device/find-gpu.js'
import { GpuDevice } from './device/gpu-device.js'
import { matrixUnitsOf } from './device/matrix-units.js'
import { WebgpuBackend, type WebgpuModelBackend } from './webgpu-backend.js'

/** What `webgpu` takes. */
export interface WebgpuOptions extends GpuChoice {
  /** An existing device, which stays the caller's: `dispose` does not destroy it. Default: a new one of the adapter that `powerPreference` gives. */
  readonly device?: GPUDevice
}

/**
 * The backend on WebGPU: a browser's, or Dawn's under Node, from the optional peer `webgpu`.
 * @throws BackendUnavailableError with the reason: no WebGPU, no adapter, no device
 */
export async function webgpu({ device, ...choice }: WebgpuOptions = {}): Promise<WebgpuModelBackend> {
  // Browsers of 2024 have no information of a device.
  if (device) return open(device, device.adapterInfo ?? ({} as GPUAdapterInfo), false)
  const found = await findGpu(choice)
  try {
    return open(found.device, found.adapter.info, true)
  } catch (error) {
    found.device.destroy()
    throw error
  }
}

function open(device: GPUDevice, info: GPUAdapterInfo, owned: boolean): WebgpuBackend {
  const { subgroupMinSize, subgroupMaxSize } = info
  const subgroups =
    device.features.has('subgroups') && subgroupMinSize && subgroupMaxSize ? { min: subgroupMinSize, max: subgroupMaxSize } : undefined
  // Browsers leave out what would tell the user; Dawn has the driver as the description.
  const adapter = info.device || [info.vendor, info.architecture].filter(Boolean).join(' ') || 'WebGPU adapter'
  const name = info.description ? `${adapter} (${info.description})` : adapter
  const abilities = [
    device.features.has('shader-f16') ? 'f16' : 'no f16',
    subgroups ? `subgroups of ${subgroups.min === subgroups.max ? subgroups.min : `${subgroups.min} to ${subgroups.max}`}` : 'no subgroups',
  ]
  return new WebgpuBackend(new GpuDevice(device, subgroups, owned, matrixUnitsOf(device, info)), `${name}, ${abilities.join(', ')}`)
}
