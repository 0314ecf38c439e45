import type { DType, Tensor } from './contract/tensor.js'

/** What a tensor and its views have in common: its backend's own description of the elements, released with the last of them. */
export interface SharedStorage {
  readonly release: () => void
  /** Tensors that are not disposed; 0 until the first is made. */
  views: number
}

/** The `Tensor` of a backend: a shape of elements that other views may share. Disposing twice is allowed. */
export class TensorView<S extends SharedStorage, T extends DType = DType> implements Tensor {
  readonly backend: object
  readonly dtype: T
  readonly shape: readonly number[]
  readonly storage: S
  #disposed = false

  constructor(backend: object, dtype: T, shape: readonly number[], storage: S) {
    this.backend = backend
    this.dtype = dtype
    this.shape = [...shape]
    this.storage = storage
    storage.views++
  }

  get disposed(): boolean {
    return this.#disposed
  }

  dispose(): void {
    if (this.#disposed) return
    this.#disposed = true
    this.storage.views--
    if (this.storage.views === 0) this.storage.release()
  }
}
