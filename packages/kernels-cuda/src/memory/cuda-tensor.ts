import type { Tensor } from '@phsa/core'
import type { HeldDType } from './host-elements.js'

/** Device memory that a tensor and its views share. */
export interface Storage {
  readonly address: bigint
  readonly release: () => void
  views: number
}

/** A tensor of this backend. */
export class CudaTensor implements Tensor {
  readonly backend: object
  readonly dtype: HeldDType
  readonly shape: readonly number[]
  readonly storage: Storage
  disposed = false

  constructor(backend: object, dtype: HeldDType, shape: readonly number[], storage: Storage) {
    this.backend = backend
    this.dtype = dtype
    this.shape = [...shape]
    this.storage = storage
    storage.views++
  }

  dispose(): void {
    if (this.disposed) return
    this.disposed = true
    this.storage.views--
    if (this.storage.views === 0) this.storage.release()
  }
}
