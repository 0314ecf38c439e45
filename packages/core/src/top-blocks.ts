import { bestBlocks } from './best-blocks.js'
import { candidateBlocks } from './candidate-blocks.js'
import type { AttentionSpec } from './contract/attention-spec.js'

/** Scores or masses of blocks for sampled queries, on the host. */
export interface BlockScores {
  /** `[Hkv, n, maxBlocks]`: a value for each block of the query's sequence. */
  readonly values: ArrayLike<number>
  /** Most blocks of a sequence, as in `Layout`. */
  readonly maxBlocks: number
  /** `[n]`: position of each query in its sequence; -1 for none. */
  readonly positions: ArrayLike<number>
}

/**
 * The topK candidates of highest value for each query, ties to the lower index: with block masses, the oracle's choice (spec 4, 8).
 * @returns i32 [Hkv, n, topK], ascending, -1 padded
 */
export function topBlocks({ values, maxBlocks, positions }: BlockScores, spec: AttentionSpec): Int32Array {
  const { kvHeads, topK } = spec
  const chosen = new Int32Array(kvHeads * positions.length * topK).fill(-1)
  for (let row = 0; row < kvHeads * positions.length; row++) {
    const position = positions[row % positions.length]
    if (position < 0) continue
    const scores = Array.from({ length: maxBlocks }, (_, block) => values[row * maxBlocks + block])
    chosen.set(bestBlocks(scores, candidateBlocks(spec, position), topK), row * topK)
  }
  return chosen
}
