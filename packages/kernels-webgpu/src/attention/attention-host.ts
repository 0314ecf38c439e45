import type { GpuDevice } from '../device/gpu-device.js'
import type { KernelMemory } from './kernel-host.js'
import type { SequenceNumbers } from './sequence-numbers.js'

/** What the attention operations work with. */
export interface AttentionHost {
  readonly device: GpuDevice
  readonly memory: KernelMemory
  readonly numbers: SequenceNumbers
}
