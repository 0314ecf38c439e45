import type { Tensor } from './tensor.js'

/**
 * How sequences lie in packed tensors, as the device reads it. `uploadLayout` makes one from lengths.
 *
 * The numbers are capacities, fixed for a captured step; the tensors hold the actual layout and may be rewritten between steps.
 * Sequence s owns rows `queryStarts[s] .. queryStarts[s+1]` of q and `keyStarts[s] .. keyStarts[s+1]` of k and v. Its queries are its
 * last tokens: query row x of a sequence with n queries and l keys stands at position l - n + x, n <= l. In training n = l.
 *
 * Unused sequences have no rows. Rows past the last start belong to no sequence: outputs and gradients there are 0, lse is -Infinity and
 * `selected` is -1, whatever the inputs hold.
 */
export interface Layout {
  /** m that the blocks were counted with; the same as in every spec it is used with. */
  readonly blockSize: number
  /** S: extent of the start tensors less one. */
  readonly sequences: number
  /** Rows of q. */
  readonly queryTokens: number
  /** Rows of k and v. */
  readonly keyTokens: number
  /** Blocks of the representatives tensor: at least the sum over the sequences of ceil(keys / m). */
  readonly blocks: number
  /** At least the most blocks that one sequence has; the last extent of block masses. */
  readonly maxBlocks: number
  /** At least the most queries that one sequence brings. */
  readonly maxQueries: number
  /** i32 [S + 1], ascending, from 0. */
  readonly queryStarts: Tensor
  /** i32 [S + 1], ascending, from 0. */
  readonly keyStarts: Tensor
  /** i32 [S + 1]: block t of sequence s, sub-block u, has its representative in row (blockStarts[s] + t) r + u. */
  readonly blockStarts: Tensor
}

/**
 * Token weights of the block representatives (spec 3), one f32 a row of k. Core computes them from the punctuation table, once for all
 * heads and layers; a kernel sees keys and weights only.
 * - `fused`: both branches in one weight, for one lambda.
 * - `branches`: a weight for each branch, fused per KV head: M = lambda Mo + (1 - lambda) Mp. For lambda per head, and where lambda is learned.
 */
export type TokenWeights =
  | { readonly kind: 'fused'; readonly weights: Tensor }
  | {
      readonly kind: 'branches'
      readonly global: Tensor
      readonly punctuation: Tensor
      /** f32 [Hkv]. */
      readonly lambda: Tensor
    }
