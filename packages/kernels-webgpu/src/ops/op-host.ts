import type { KernelMemory } from '../attention/kernel-host.js'
import type { GpuDevice } from '../device/gpu-device.js'

/** What the model operations work with. */
export interface OpHost {
  readonly device: GpuDevice
  readonly memory: KernelMemory
}
