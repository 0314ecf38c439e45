import type { DType, Tensor } from '@phsa/core'
import type { FloatElements } from './elements.js'

/** Elements that a tensor and its views share. Integers are layouts, rows and page tables, which only the host reads: they stay there. */
export interface Storage {
  readonly floats: FloatElements | undefined
  readonly integers: Int32Array | undefined
  readonly bytes: number
  readonly release: () => void
  views: number
}

/** A tensor of this backend. */
export class TfjsTensor implements Tensor {
  readonly backend: object
  readonly dtype: DType
  readonly shape: readonly number[]
  readonly storage: Storage
  disposed = false

  constructor(backend: object, dtype: DType, shape: readonly number[], storage: Storage) {
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
