import type { AttentionSpec } from '../contract/attention-spec.js'
import type { Layout, TokenWeights } from '../contract/layout.js'
import { ShapeError } from '../errors/shape-error.js'
import { besides, checkTensor } from './check-tensor.js'
import type { TensorOwner } from './tensor-owner.js'

/** @throws ShapeError, BackendMismatchError or DisposedError for the tensors of a layout, ShapeError for blocks of another size than the spec's */
export function checkLayout(owner: TensorOwner, layout: Layout, spec: AttentionSpec): void {
  if (layout.blockSize !== spec.blockSize) {
    throw new ShapeError(
      `the layout counts blocks of ${layout.blockSize} tokens, the spec has blockSize ${spec.blockSize}; upload the layout with the spec's.`,
    )
  }
  const starts = [layout.sequences + 1]
  checkTensor(owner, 'layout.queryStarts', layout.queryStarts, starts, 'i32')
  checkTensor(owner, 'layout.keyStarts', layout.keyStarts, starts, 'i32')
  checkTensor(owner, 'layout.blockStarts', layout.blockStarts, starts, 'i32')
}

/** @throws ShapeError, BackendMismatchError or DisposedError for the tensors of token weights */
export function checkTokenWeights(owner: TensorOwner, weights: TokenWeights, layout: Layout, spec: AttentionSpec): void {
  const rows = [layout.keyTokens]
  const dtypes = besides(spec.dtype)
  if (weights.kind === 'fused') {
    checkTensor(owner, 'weights.weights', weights.weights, rows, dtypes)
    return
  }
  checkTensor(owner, 'weights.global', weights.global, rows, dtypes)
  checkTensor(owner, 'weights.punctuation', weights.punctuation, rows, dtypes)
  checkTensor(owner, 'weights.lambda', weights.lambda, [spec.kvHeads], dtypes)
}
