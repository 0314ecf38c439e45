import { type DType, elementCount, type HostArray, type Tensor } from '../contract/tensor.js'
import { ShapeError } from '../errors/shape-error.js'

/** @throws ShapeError for extents that are no non-negative integers */
export function checkShape(shape: readonly number[]): void {
  if (shape.every((extent) => Number.isInteger(extent) && extent >= 0)) return
  throw new ShapeError(`shape is [${shape.join(', ')}]; extents are integers of at least 0.`)
}

/**
 * Host data for a tensor of this shape and type, as `Memory.upload` and `write` take it.
 * @throws ShapeError for another length, or another kind of array than the type's host form
 */
export function checkHostArray(data: HostArray, shape: readonly number[], dtype: DType): void {
  const wanted = dtype === 'i32' ? 'Int32Array' : dtype === 'f64' ? 'Float64Array' : 'Float32Array'
  const given = data instanceof Int32Array ? 'Int32Array' : data instanceof Float64Array ? 'Float64Array' : 'Float32Array'
  if (given !== wanted) throw new ShapeError(`the data is a ${given}; a tensor of ${dtype} is written from a ${wanted}.`)
  if (data.length !== elementCount(shape)) {
    throw new ShapeError(`the data has ${data.length} elements; shape [${shape.join(', ')}] takes ${elementCount(shape)}.`)
  }
}

/** Two tensors as `Memory.copy` takes them. @throws ShapeError for other element counts, or i32 with a float type */
export function checkCopy(source: Tensor, target: Tensor): void {
  if (elementCount(source.shape) !== elementCount(target.shape)) {
    throw new ShapeError(`copy from [${source.shape.join(', ')}] to [${target.shape.join(', ')}]; both need the same element count.`)
  }
  if ((source.dtype === 'i32') === (target.dtype === 'i32')) return
  throw new ShapeError(`copy from ${source.dtype} to ${target.dtype}; both must be i32 or both float.`)
}
