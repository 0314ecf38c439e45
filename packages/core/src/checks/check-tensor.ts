import type { DType, Tensor } from '../contract/tensor.js'
import { BackendMismatchError } from '../errors/backend-mismatch-error.js'
import { DisposedError } from '../errors/disposed-error.js'
import { ShapeError } from '../errors/shape-error.js'
import type { TensorOwner } from './tensor-owner.js'

/** Types that activations and weights may have. */
export const FLOAT_DTYPES: readonly DType[] = ['f32', 'bf16', 'f16', 'f64']

/**
 * A tensor that this backend made and that is alive.
 * @throws BackendMismatchError or DisposedError naming the tensor
 */
export function checkUsable(owner: TensorOwner, name: string, tensor: Tensor): void {
  if (tensor.backend !== owner.backend) {
    throw new BackendMismatchError(`${name} belongs to another backend than this ${owner.name}; download it there and upload it here.`)
  }
  if (owner.isDisposed(tensor)) {
    throw new DisposedError(`${name} [${tensor.shape.join(', ')}] is disposed; dispose it after its last use, or return it from its scope.`)
  }
}

/**
 * A usable tensor of exactly this shape and one of these types.
 * @param shape an extent of -1 allows any
 * @throws BackendMismatchError, DisposedError or ShapeError naming the tensor
 */
export function checkTensor(
  owner: TensorOwner,
  name: string,
  tensor: Tensor,
  shape: readonly number[],
  dtypes: DType | readonly DType[],
): void {
  checkUsable(owner, name, tensor)
  const fits = tensor.shape.length === shape.length && shape.every((extent, axis) => extent === -1 || extent === tensor.shape[axis])
  if (!fits) {
    const wanted = shape.map((extent) => (extent === -1 ? 'any' : extent)).join(', ')
    throw new ShapeError(`${name} has shape [${tensor.shape.join(', ')}]; this call takes [${wanted}].`)
  }
  const allowed = typeof dtypes === 'string' ? [dtypes] : dtypes
  if (!allowed.includes(tensor.dtype)) throw new ShapeError(`${name} is ${tensor.dtype}; this call takes ${allowed.join(' or ')}.`)
}

/** Types of a float input beside activations of a type: f32, and f64 too where everything is f64. */
export function besides(dtype: DType): readonly DType[] {
  return dtype === 'f64' ? ['f64', 'f32'] : ['f32']
}

/** Types of a tensor that gradients of a weight are added to: the weight's own, or wider. */
export function accumulatorOf(dtype: DType): readonly DType[] {
  return dtype === 'f64' ? ['f64'] : dtype === 'f32' ? ['f32'] : [dtype, 'f32']
}
