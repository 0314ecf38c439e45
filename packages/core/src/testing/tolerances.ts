import type { DType } from '../contract/tensor.js'

/** Every bound of spec 11, in this one place. Loosening one is a commit of its own, with the measured error before and after. */
export interface Tolerances {
  /** Relative Frobenius error of representatives, out, dv, masses, distillation and model ops; the unit of the bounds below. */
  readonly relative: number
  /** Row by row error of out and dv over max(row norm, rms row norm). */
  readonly row: number
  /** Error of lse over max(1, largest |s| of the row). */
  readonly lse: number
  /** Error of dq and dk over ||F||, F the gradient formula with absolute values inside; the larger of this and `relative` counts. */
  readonly cancellation: number
  /** How far below the topK-th best a chosen block may score, over the largest |S| of the row's candidates. */
  readonly selection: number
}

function tolerances(relative: number, selection: number): Tolerances {
  return { relative, row: 5 * relative, lse: relative, cancellation: relative / 8, selection }
}

const SINGLE = tolerances(2e-5, 1e-3)
const HALF = tolerances(1e-2, 2e-2)

/** The bounds for tensors of an element type; f64 is held to those of f32 (spec 11). */
export function tolerancesFor(dtype: DType): Tolerances {
  return dtype === 'bf16' || dtype === 'f16' ? HALF : SINGLE
}

/** Relative Frobenius error of the change that an AdamW step makes to f32 values: each is rounded after the step, which is about a hundredth of it. */
export const STEP_TOLERANCE = 1e-3

/** Relative Frobenius error of a model's logits and gradients in f32 (spec 11). */
export const MODEL_TOLERANCE = 1e-4
