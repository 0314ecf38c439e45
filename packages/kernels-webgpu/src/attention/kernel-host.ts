import type { DType, Memory, Tensor, TensorOwner } from '@phsa/core'
import type { BufferSlice } from '../device/kernel-launch.js'

/** What the operations need of the memory besides core's contract. */
export interface KernelMemory extends Pick<Memory, 'alloc' | 'scope' | 'zero'> {
  /** For core's checks. */
  readonly owner: TensorOwner
  /** @throws DisposedError or BackendLostError */
  checkOpen(): void
  /** A tensor's elements as a kernel sees them. */
  slice(tensor: Tensor): BufferSlice
  /** A new tensor with undefined contents, in the open scope. */
  make(shape: readonly number[], dtype: DType): Tensor
  /** Memory with undefined contents for the launches that `run` queues. */
  scratch<T>(bytes: number, run: (scratch: BufferSlice) => T): T
  /** Memory that is no tensor and in no scope, counted as one tensor. */
  reserve(what: string, bytes: number): { readonly slice: BufferSlice; release(): void }
}
