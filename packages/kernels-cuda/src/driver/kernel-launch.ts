import type { Extents } from './cuda-driver.js'

/** One run of a kernel. */
export interface KernelLaunch {
  /** Its name: operation, element type and, where templated, head dimension, such as `attend_bf16_d128`. */
  readonly kernel: string
  /** Blocks of threads; nothing is launched where an extent is 0. */
  readonly grid: Extents
  /** Threads a block. */
  readonly block: number
  /** Dynamic shared memory, bytes. */
  readonly sharedBytes?: number
  /**
   * Beginnings of the names of kernels: where one of them was launched last, and the GPU can, this kernel begins before that one has ended. It waits for it
   * by itself before it reads what that one writes (overlap.cuh).
   */
  readonly overlaps?: readonly string[]
  /** Whether its thread blocks wait for each other: then all run at once, or the launch fails. */
  readonly together?: boolean
  /** The kernel's parameter struct, as `ParamWriter` packs it. */
  readonly params: Uint8Array
}
