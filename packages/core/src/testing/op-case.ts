import type { Memory } from '../contract/memory.js'
import type { ModelOps } from '../contract/model-ops.js'
import type { DType, HostArray, Tensor } from '../contract/tensor.js'
import type { TestedDType } from './attention-case.js'

/** A named tensor of an op's call, on the host. */
export interface OpTensor {
  readonly data: HostArray
  readonly shape: readonly number[]
  /** `activation`: the tested type; `f32`, `i32`: that type whatever is tested. */
  readonly kind: 'activation' | 'f32' | 'i32'
}

/** One call of an op as data: inputs, gradients that it adds to, and the call. */
export interface OpCase {
  readonly name: string
  readonly inputs: Readonly<Record<string, OpTensor>>
  /** Shapes of the tensors that are added to; `activation` or f32. */
  readonly accumulators: Readonly<Record<string, { readonly shape: readonly number[]; readonly kind: 'activation' | 'f32' }>>
  /** Outputs by name; what is added to is compared besides. */
  run(ops: ModelOps, tensors: Readonly<Record<string, Tensor>>, memory: Memory): Record<string, Tensor>
  /** Outputs that must be equal to the last bit. */
  readonly exact?: readonly string[]
  /** Types that it is for; default all. */
  readonly dtypes?: readonly TestedDType[]
}

/** The element type of a tensor where activations have `dtype`. */
export function opTensorType(kind: OpTensor['kind'], dtype: DType): DType {
  if (kind === 'activation') return dtype
  return kind === 'f32' && dtype === 'f64' ? 'f64' : kind
}
