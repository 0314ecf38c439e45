import type { DType } from './tensor.js'

/**
 * How blocks are scored for selection.
 * - `softmax`: softmax over the complete blocks, summed over the heads of the group (spec 4).
 * - `logit`: scaled scores, summed over the heads of the group; cheaper (spec 4).
 * - `overlap`: the InfLLM v2 baseline (spec 8). The representatives are means of sub-blocks of 16 tokens (m = 16 r, lambda 1). Kernel c is
 *   the mean of sub-blocks c and c + 1 of the sequence, across block borders; query i sees it when 16 c + 31 <= i, also where it lies in a
 *   block that is not complete. Softmax over all kernels that i sees, sum over the heads of the group; a block takes the maximum over the seen
 *   kernels that overlap it (r t - 1 to r t + r - 1), 0 where there is none. Candidates and forced blocks are as always.
 */
export type ScoreKind = 'softmax' | 'logit' | 'overlap'

/** What an attention kernel is compiled for: the static part of a call (spec 1). Everything that changes from step to step is a tensor. */
export interface AttentionSpec {
  /** Hq, query heads; a multiple of kvHeads. */
  readonly heads: number
  /** Hkv, key/value heads. */
  readonly kvHeads: number
  /** D, head dimension. */
  readonly headDim: number
  /** Element type of q, k, v, out and their gradients. Representatives, lse, masses and losses are f32 whatever it is (f64 for f64). */
  readonly dtype: DType
  /** m, tokens a key block. */
  readonly blockSize: number
  /** First tokens, always visible; a multiple of m. */
  readonly initTokens: number
  /** Local window, always visible; a multiple of m, at least m. `denseSpec` sets it beyond any length. */
  readonly localTokens: number
  /** Blocks chosen by score; the last extent of every packed `selected`. The paged form takes it from the batch, per sequence. */
  readonly topK: number
  /** r, sub-blocks with a representative of their own in each block; divides m. */
  readonly representatives: number
  readonly score: ScoreKind
  /**
   * A query at position i < denseBelow attends densely and selects nothing (its row of `selected` is all -1). The paged form takes it
   * from the batch, per sequence, and ignores this one.
   */
  readonly denseBelow: number
}

/** Window of a dense spec: longer than any sequence, a multiple of every block size, and safe to add to a position in int32. */
const BEYOND_ANY_LENGTH = 2 ** 30

/** The dense form of a spec: a window longer than any sequence and nothing selected (spec 7). */
export function denseSpec(spec: AttentionSpec): AttentionSpec {
  return { ...spec, initTokens: 0, localTokens: BEYOND_ANY_LENGTH, topK: 0, denseBelow: 0 }
}

/** Whether every query sees all earlier keys, whatever the length. */
export function isDense(spec: AttentionSpec): boolean {
  return spec.localTokens >= BEYOND_ANY_LENGTH
}
