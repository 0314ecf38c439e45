import type { KernelArchive } from '../src/driver/kernel-archive.js'

/** What a fake machine is like. */
export interface FakeMachine {
  /** CUDA version of the driver, 13000 by default. */
  readonly version?: number
  readonly devices?: number
  /** 10 * major + minor, 90 by default. */
  readonly capability?: number
  readonly deviceBytes?: number
  /** cuEventSynchronize on a thread without a context fails, as a driver may do. */
  readonly workersFail?: boolean
}

/** Two modules: that of `memory.cu`, and one with a kernel of each name. */
export function fakeArchive(kernels: readonly string[] = ['work'], targets: readonly string[] = ['sm_90a']): KernelArchive {
  const conversions = { name: 'memory', kernels: ['convert_f32_bf16', 'convert_bf16_f32'], targets, image: Uint8Array.of(1) }
  return { leastDriver: 13000, modules: [conversions, { name: 'kernels', kernels, targets, image: Uint8Array.of(2) }] }
}
