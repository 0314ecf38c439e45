import type {
  AttendBackwardInput,
  AttendInput,
  BlockMassInput,
  PoolBackwardInput,
  PoolInput,
  SelectInput,
  SelectionLossBackwardInput,
  SelectionLossInput,
  SelectTopInput,
} from '../contract/attention.js'
import type { AttentionSpec } from '../contract/attention-spec.js'
import type { Layout } from '../contract/layout.js'
import { ShapeError } from '../errors/shape-error.js'
import { checkLayout, checkTokenWeights } from './check-layout.js'
import { checkSpec } from './check-spec.js'
import { besides, checkTensor } from './check-tensor.js'
import type { TensorOwner } from './tensor-owner.js'

// Each function checks one input object of the `Attention` contract and throws what its methods promise:
// UnsupportedError, ShapeError, BackendMismatchError or DisposedError, before anything is queued.

/** Checks the input of `Attention.poolBlocks`. */
export function checkPoolInput(owner: TensorOwner, { k, weights, layout, spec }: PoolInput): void {
  checkSpec(owner, spec)
  checkLayout(owner, layout, spec)
  checkTensor(owner, 'k', k, keyShape(layout, spec), spec.dtype)
  checkTokenWeights(owner, weights, layout, spec)
}

/** Checks the input of `Attention.poolBlocksBackward`. */
export function checkPoolBackwardInput(owner: TensorOwner, input: PoolBackwardInput): void {
  const { weights, layout, spec, dReps, dk, dLambda } = input
  checkPoolInput(owner, input)
  checkTensor(owner, 'dReps', dReps, repsShape(layout, spec), besides(spec.dtype))
  checkTensor(owner, 'dk', dk, keyShape(layout, spec), spec.dtype)
  if (!dLambda) return
  if (weights.kind === 'fused') {
    throw new ShapeError(
      'dLambda is given with weights of kind fused, where lambda is no tensor; give weights of kind branches, or no dLambda.',
    )
  }
  checkTensor(owner, 'dLambda', dLambda, [spec.kvHeads], besides(spec.dtype))
}

/** Checks the input of `Attention.selectBlocks`. */
export function checkSelectInput(owner: TensorOwner, { q, reps, layout, spec }: SelectInput): void {
  checkSpec(owner, spec)
  checkLayout(owner, layout, spec)
  checkTensor(owner, 'q', q, queryShape(layout, spec), spec.dtype)
  checkTensor(owner, 'reps', reps, repsShape(layout, spec), besides(spec.dtype))
}

/** Checks the input of `Attention.selectTop`. */
export function checkSelectTopInput(owner: TensorOwner, { scores, rows, selected, layout, spec }: SelectTopInput): void {
  checkSpec(owner, spec)
  checkLayout(owner, layout, spec)
  checkTensor(owner, 'rows', rows, [-1], 'i32')
  checkTensor(owner, 'scores', scores, [spec.kvHeads, rows.shape[0], layout.maxBlocks], besides(spec.dtype))
  checkTensor(owner, 'selected', selected, [spec.kvHeads, layout.queryTokens, spec.topK], 'i32')
}

/** Checks the input of `Attention.attend`. */
export function checkAttendInput(owner: TensorOwner, { q, k, v, selected, layout, spec }: AttendInput): void {
  checkSpec(owner, spec)
  checkLayout(owner, layout, spec)
  checkTensor(owner, 'q', q, queryShape(layout, spec), spec.dtype)
  checkTensor(owner, 'k', k, keyShape(layout, spec), spec.dtype)
  checkTensor(owner, 'v', v, keyShape(layout, spec), spec.dtype)
  checkTensor(owner, 'selected', selected, [spec.kvHeads, layout.queryTokens, spec.topK], 'i32')
}

/** Checks the input of `Attention.attendBackward`. */
export function checkAttendBackwardInput(owner: TensorOwner, input: AttendBackwardInput): void {
  const { out, lse, dOut, layout, spec } = input
  checkAttendInput(owner, input)
  checkTensor(owner, 'out', out, queryShape(layout, spec), spec.dtype)
  checkTensor(owner, 'lse', lse, [layout.queryTokens, spec.heads], besides(spec.dtype))
  checkTensor(owner, 'dOut', dOut, queryShape(layout, spec), spec.dtype)
}

/** Checks the input of `Attention.blockMass`. */
export function checkBlockMassInput(owner: TensorOwner, { q, k, rows, layout, spec }: BlockMassInput): void {
  checkSpec(owner, spec)
  checkLayout(owner, layout, spec)
  checkTensor(owner, 'q', q, queryShape(layout, spec), spec.dtype)
  checkTensor(owner, 'k', k, keyShape(layout, spec), spec.dtype)
  checkTensor(owner, 'rows', rows, [-1], 'i32')
}

/** Checks the input of `Attention.selectionLoss`. */
export function checkSelectionLossInput(owner: TensorOwner, input: SelectionLossInput): void {
  const { mass, rows, layout, spec } = input
  checkSelectInput(owner, input)
  checkTensor(owner, 'rows', rows, [-1], 'i32')
  checkTensor(owner, 'mass', mass, [spec.kvHeads, rows.shape[0], layout.maxBlocks], besides(spec.dtype))
}

/** Checks the input of `Attention.selectionLossBackward`. */
export function checkSelectionLossBackwardInput(owner: TensorOwner, input: SelectionLossBackwardInput): void {
  checkSelectionLossInput(owner, input)
  checkTensor(owner, 'dq', input.dq, queryShape(input.layout, input.spec), input.spec.dtype)
}

function queryShape(layout: Layout, spec: AttentionSpec): number[] {
  return [layout.queryTokens, spec.heads, spec.headDim]
}

function keyShape(layout: Layout, spec: AttentionSpec): number[] {
  return [layout.keyTokens, spec.kvHeads, spec.headDim]
}

function repsShape(layout: Layout, spec: AttentionSpec): number[] {
  return [spec.kvHeads, layout.blocks * spec.representatives, spec.headDim]
}
