/**
 * Element types. `f64` is for the reference backend, where gradients are checked by finite differences.
 * `bf16` and `f16` tensors are uploaded from, and downloaded as, Float32Array; the backend rounds to nearest even.
 */
export type DType = 'f32' | 'bf16' | 'f16' | 'f64' | 'i32'

/** Host form of a tensor's elements: Int32Array for i32, Float64Array for f64, Float32Array for every other type. */
export type HostArray = Float32Array | Float64Array | Int32Array

/**
 * A row-major array that a backend owns. Handles are opaque: only the backend that made one reads it, and another backend that is
 * given it throws `BackendMismatchError`.
 */
export interface Tensor {
  /** The backend that made it; compared by identity. */
  readonly backend: object
  readonly dtype: DType
  readonly shape: readonly number[]
  /** Frees the memory once no other view of it is left. Disposing twice is allowed; using it afterwards is a `DisposedError`. */
  dispose(): void
}

/** Number of elements of a shape. */
export function elementCount(shape: readonly number[]): number {
  return shape.reduce((product, extent) => product * extent, 1)
}

/** Bytes of one element as a backend stores it. */
export const bytesPerElement: Readonly<Record<DType, number>> = { f32: 4, bf16: 2, f16: 2, f64: 8, i32: 4 }
