import type { DType, HostArray, Tensor } from './tensor.js'

/** What a backend holds now; leak tests compare two of these. */
export interface MemoryUsage {
  /** Live tensors and caches; views of one allocation count once. */
  readonly tensors: number
  /** Bytes they occupy, without what an allocator keeps for reuse. */
  readonly bytes: number
}

/**
 * Tensors in and out of a backend. Extents of 0 are legal everywhere.
 *
 * In-place operations (`write`, `zero`, `copy`, and every tensor that an operation adds to) are seen through all views of the memory. A tensor that is
 * changed in place shares no memory with another argument of the call.
 *
 * Work is queued in call order, memory operations included, and only `download` waits for it. Errors that arise later than the call
 * (out of memory, a lost device) reject the next `download` and, where the device is gone, settle `AttentionBackend.lost`.
 */
export interface Memory {
  /**
   * Copies host data to a new tensor; the array may be changed as soon as the call returns.
   * @param dtype default: `i32` for Int32Array, `f64` for Float64Array, `f32` for Float32Array
   * @throws ShapeError when the data's length is not the shape's element count or the array's kind does not fit the dtype
   */
  upload(data: HostArray, shape: readonly number[], dtype?: DType): Tensor

  /** Replaces a tensor's elements in place: its address stays, so a captured step sees the new values. Same rules as `upload`. */
  write(tensor: Tensor, data: HostArray): void

  /** A new tensor of zeros. */
  alloc(shape: readonly number[], dtype: DType): Tensor

  /** Sets every element to zero, in place. */
  zero(tensor: Tensor): void

  /** Copies elements on the device, in place, converting between float types (one rounding): same element count, both i32 or both float. */
  copy(source: Tensor, target: Tensor): void

  /** A view with another shape of the same element count. It shares the memory, which lives until the last view is disposed. */
  reshape(tensor: Tensor, shape: readonly number[]): Tensor

  /**
   * Copies a tensor to the host as it stands in queue order: what is queued after the call (a write, a replay, `dispose`) does not change
   * the result. Does not block the event loop unless `limits.blocking`. Rejects when an operation queued before it failed.
   */
  download(tensor: Tensor): Promise<HostArray>

  /**
   * Runs `run` and frees every tensor made inside that is not part of its result (tensors are found in arrays and plain objects, to any
   * depth). Scopes nest; when `run` throws, everything made inside is freed. `run` is synchronous: a Promise as its result is an error,
   * because tensors of other flows would fall into the scope.
   */
  scope<T>(run: () => T): T

  usage(): MemoryUsage
}
