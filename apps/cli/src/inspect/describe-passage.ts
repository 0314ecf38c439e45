import { PackedLayout, type PhsaConfig, type PunctuationTable, poolingWeights } from '@phsa/core'
import type { TextTokenizer } from '@phsa/model'
import type { PassageMap } from '../report/passage-map.js'

/** What can be said about a passage without a model: tokens, punctuation, blocks, token weights, and what is forced. */
export function describePassage(
  ids: Int32Array,
  { tokenizer, punctuation, phsa, query }: { tokenizer: TextTokenizer; punctuation: PunctuationTable; phsa: PhsaConfig; query: number },
): PassageMap {
  const marks = punctuation.marks(ids)
  // A lambda of each head's own has no one picture; the mean shows the blend.
  const lambda = typeof phsa.lambda === 'number' ? phsa.lambda : mean(phsa.lambda.flat())
  const layout = new PackedLayout([ids.length], phsa.blockSize)
  return {
    tokens: Array.from(ids, (id) => tokenizer.decode([id])),
    punctuation: Array.from(marks),
    weights: Array.from(poolingWeights(marks, layout, lambda, phsa.representatives)),
    blockSize: phsa.blockSize,
    initTokens: phsa.initTokens,
    localTokens: phsa.localTokens,
    topK: phsa.topK,
    lambda,
    queries: [query],
    query,
    policies: [],
  }
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length
}
