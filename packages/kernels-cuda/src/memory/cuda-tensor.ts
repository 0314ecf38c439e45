import type { SharedStorage, TensorView } from '@phsa/core'
import type { HeldDType } from './host-elements.js'

/** Device memory that a tensor and its views share. */
export interface Storage extends SharedStorage {
  readonly address: bigint
}

/** A tensor of this backend. */
export type CudaTensor = TensorView<Storage, HeldDType>
