import { activatedTokens, attentionCost, attentionSpec, exactCounts, forLength, sparsity } from '@phsa/core'
import type { CostRow } from '../report/demo-results.js'

/** Heads of Qwen3-0.6B; the shares hardly depend on them. */
const HEADS = { heads: 16, kvHeads: 8, headDim: 128, dtype: 'bf16' } as const

/** Cost of the paper's parameters at 4k and 32k, counted position by position. */
export function demoCosts(): CostRow[] {
  return [4096, 32768].flatMap((length) =>
    [1, 2, 4, 8, 16].map((topK) => {
      const spec = attentionSpec({ ...forLength(length), topK }, HEADS)
      const { share } = attentionCost(spec, exactCounts(spec, [length]))
      return { length, topK, activated: activatedTokens(spec), sparsity: sparsity(spec, length), flopShare: share }
    }),
  )
}
