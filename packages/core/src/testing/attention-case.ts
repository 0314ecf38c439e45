import type { AttentionSpec } from '../contract/attention-spec.js'
import type { DType } from '../contract/tensor.js'
import type { LayoutCapacity } from '../upload-layout.js'

/** Element types that the suite runs attention in. */
export type TestedDType = Extract<DType, 'f32' | 'bf16' | 'f16'>

/**
 * What q, k and v look like.
 * - `normal`: independent standard normal numbers.
 * - `ties`: all keys of a head equal, on a grid where sums are exact, so that every block scores the same and ties decide.
 * - `trained`: keys share a mean, blocks form clusters and queries point at some of them: peaked softmax, first tokens as sinks.
 * - `steep`: integers up to 32 and 16, so that scores are exact and reach several hundred of both signs: exp overflows f32 unless the largest
 *   score is subtracted first.
 * - `equal-values`: all values of a head equal, so that dq and dk are exactly zero and every term cancels.
 */
export type InputKind = 'normal' | 'ties' | 'trained' | 'steep' | 'equal-values'

/** The kernels that a case is put through. */
export type AttentionCheckName =
  | 'pool'
  | 'pool-backward'
  | 'select'
  | 'select-top'
  | 'attend'
  | 'attend-backward'
  | 'block-mass'
  | 'selection-loss'
  | 'nan-poison'
  | 'chunks'

/** A packed attention problem as data: everything follows from it and from the element type. */
export interface AttentionCase {
  readonly name: string
  /** Its dtype is replaced by the tested one. */
  readonly spec: AttentionSpec
  readonly keyLengths: readonly number[]
  /** Default: every token is a query. */
  readonly queryLengths?: readonly number[]
  /** One number, or one a KV head. */
  readonly lambda: number | readonly number[]
  readonly inputs: InputKind
  readonly seed: number
  /** Room beyond what the lengths need; rows there hold NaN. */
  readonly capacity?: LayoutCapacity
  readonly dtypes: readonly TestedDType[]
  readonly checks: readonly AttentionCheckName[]
}
