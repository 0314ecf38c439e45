import type { AttentionSpec } from './attention-spec.js'
import type { Layout, TokenWeights } from './layout.js'
import type { Tensor } from './tensor.js'

/** q [Tq, Hq, D], k and v [Tk, Hkv, D], selected i32 [Hkv, Tq, topK]. */
export interface AttendInput {
  readonly q: Tensor
  readonly k: Tensor
  readonly v: Tensor
  /** Block indices within the sequence, ascending, -1 padded. Taken as given: a block that is forced or listed twice is an error of the caller. */
  readonly selected: Tensor
  readonly layout: Layout
  readonly spec: AttentionSpec
}

/** Result of attention over the visible keys (spec 5). */
export interface AttendOutput {
  /** [Tq, Hq, D]. */
  readonly out: Tensor
  /** f32 [Tq, Hq], natural logarithm. */
  readonly lse: Tensor
}

/** The inputs and results of a forward `attend`, and the gradient of its `out` (spec 5). */
export interface AttendBackwardInput extends AttendInput, AttendOutput {
  /** Gradient of out, [Tq, Hq, D]. */
  readonly dOut: Tensor
}

/** Gradients of q [Tq, Hq, D], k and v [Tk, Hkv, D]. */
export interface AttendGradients {
  readonly dq: Tensor
  readonly dk: Tensor
  readonly dv: Tensor
}

/** Keys `[Tk, Hkv, D]` and the weight of each in its block's representative (spec 3). */
export interface PoolInput {
  readonly k: Tensor
  readonly weights: TokenWeights
  readonly layout: Layout
  readonly spec: AttentionSpec
}

/** A forward `poolBlocks` with the gradient of its result, and the gradients that it adds to (spec 3). */
export interface PoolBackwardInput extends PoolInput {
  /** f32 [Hkv, blocks * r, D]. */
  readonly dReps: Tensor
  /** `[Tk, Hkv, D]`: the gradient is added to it. */
  readonly dk: Tensor
  /** f32 [Hkv]: the gradient is added to it. Only with weights of kind `branches`. */
  readonly dLambda?: Tensor
}

/** Queries `[Tq, Hq, D]` and the representatives that they are scored against (spec 4). */
export interface SelectInput {
  readonly q: Tensor
  /** f32 [Hkv, blocks * r, D], from `poolBlocks`. */
  readonly reps: Tensor
  readonly layout: Layout
  readonly spec: AttentionSpec
}

/** Scores from elsewhere, and the selection to write the best blocks into (spec 8). */
export interface SelectTopInput {
  /** f32 [Hkv, n, maxBlocks]: a score for each block of the row's sequence. */
  readonly scores: Tensor
  /** i32 [n]: the query row that each score row belongs to, at most once; -1 for none. */
  readonly rows: Tensor
  /** i32 [Hkv, Tq, topK]: the rows named are overwritten, the others stay. */
  readonly selected: Tensor
  readonly layout: Layout
  readonly spec: AttentionSpec
}

/** Queries `[Tq, Hq, D]`, keys `[Tk, Hkv, D]` and the query rows whose dense attention is measured (spec 9, 10). */
export interface BlockMassInput {
  readonly q: Tensor
  readonly k: Tensor
  /** i32 [n]: query rows to measure; -1 for none, whose masses are 0. */
  readonly rows: Tensor
  readonly layout: Layout
  readonly spec: AttentionSpec
}

/** A student (q and representatives) and its teacher (block masses) on sampled query rows (spec 10). */
export interface SelectionLossInput extends SelectInput {
  /** f32 [Hkv, n, maxBlocks], from `blockMass`; no gradient flows into it. */
  readonly mass: Tensor
  /** i32 [n]: the query rows of the masses; -1 for none. A row is listed at most once. */
  readonly rows: Tensor
}

/** A `selectionLoss` with its weight in the objective and the gradient that it adds to (spec 10). */
export interface SelectionLossBackwardInput extends SelectionLossInput {
  /** Factor of the loss in the objective: the coefficient over the number of layers. */
  readonly coefficient: number
  /** `[Tq, Hq, D]`: the gradient of q is added to it. */
  readonly dq: Tensor
}

/** The distillation loss and its gradient of the representatives; that of q is added in place (spec 10). */
export interface SelectionLossGradients {
  /** f32 [1], the loss without the coefficient. */
  readonly loss: Tensor
  /** f32 [Hkv, blocks * r, D], with the coefficient; `poolBlocksBackward` carries it on to k and lambda. */
  readonly dReps: Tensor
}

/**
 * The attention kernels on packed sequences. All calls queue work and return at once. Inputs are never changed, but for the
 * tensors named as added to. Every method throws `ShapeError`, `UnsupportedError`, `BackendMismatchError` or `DisposedError` before anything is queued.
 */
export interface Attention {
  /** Block representatives, f32 [Hkv, blocks * r, D]; sub-blocks without tokens and unused rows are 0 (spec 3). */
  poolBlocks(input: PoolInput): Tensor
  poolBlocksBackward(input: PoolBackwardInput): void

  /** The topK blocks of each query and KV head, i32 [Hkv, Tq, topK] (spec 4). */
  selectBlocks(input: SelectInput): Tensor

  /** The same choice from scores that are given, for baselines (spec 8): candidates of highest score, ties to the lower index. */
  selectTop(input: SelectTopInput): void

  /** Softmax attention over forced and selected blocks (spec 5). */
  attend(input: AttendInput): AttendOutput
  attendBackward(input: AttendBackwardInput): AttendGradients

  /**
   * Dense attention probability on each block, summed over the heads of the group: f32 [Hkv, n, maxBlocks] (spec 9, 10). All blocks count, the
   * query's own partial one included; windows and denseBelow have no part in it.
   */
  blockMass(input: BlockMassInput): Tensor

  /**
   * Block distillation loss, f32 [1]; 0 where no row has a candidate (spec 10). The softmax is over the candidates whatever `spec.score` says, and
   * every listed row counts, also below denseBelow.
   */
  selectionLoss(input: SelectionLossInput): Tensor
  selectionLossBackward(input: SelectionLossBackwardInput): SelectionLossGradients
}
