import type { DType, Memory, Tensor, TensorOwner } from '@phsa/core'
import type { KernelLaunch } from '../driver/kernel-launch.js'

/** What the operations need of a device: to queue a kernel, and to know which there are. */
export interface KernelDevice {
  readonly multiprocessors: number
  /** Whether there is such a kernel for this GPU. */
  hasKernel(name: string): boolean
  /** A grid with an extent of 0 is no launch. */
  launch(launch: KernelLaunch): void
}

/** What the operations need of the memory besides core's contract. */
export interface KernelMemory extends Pick<Memory, 'alloc' | 'scope'> {
  /** For core's checks. */
  readonly owner: TensorOwner
  /** @throws DisposedError or BackendLostError */
  checkOpen(): void
  /** Where a tensor's elements lie on the device. */
  address(tensor: Tensor): bigint
  /** A new tensor with undefined contents, in the open scope. */
  make(shape: readonly number[], dtype: DType): Tensor
  /** Memory with undefined contents for the launches that `run` queues. */
  scratch<T>(bytes: number, run: (scratch: { readonly address: bigint }) => T): T
  /** Memory that is no tensor and in no scope, counted as one tensor. @throws OutOfMemoryError */
  reserve(what: string, bytes: number): { readonly address: bigint; release(): void }
}
