import { defaultSchedule, type PhsaConfig, phsaConfig } from '@phsa/core'
import type { DecoderConfig } from '@phsa/model'

/** A decoder of 1.8 million parameters, 1.05 of them in the embedding that the output shares. */
export const DEMO_MODEL: DecoderConfig = {
  vocabSize: 8192,
  hiddenSize: 128,
  intermediateSize: 384,
  layers: 4,
  heads: 4,
  kvHeads: 2,
  headDim: 32,
  rmsNormEpsilon: 1e-6,
  ropeTheta: 10_000,
  maxPositions: 4096,
  tieWordEmbeddings: true,
  eosTokenIds: [0],
}

/** Windows scaled down to the demo's sequences, so that most blocks are left to be chosen: a query sees 80 of 512 tokens at topK 2. */
export const DEMO_PHSA: PhsaConfig = phsaConfig({ blockSize: 16, initTokens: 16, localTokens: 32, topK: 2 })

/** Many small steps: in a run this short their number matters more than the noise of each. */
export const DEMO_BATCH = { sequences: 1, tokens: 512 } as const

/** Dense for 80 % of the tokens, then topK 2 with block distillation (spec 7, 10). */
export const DEMO_SCHEDULE = defaultSchedule()

export const DEMO_OPTIMIZER = { learningRate: 2e-3, finalShare: 0.1 } as const

/** Budgets of the comparison, blocks a query. */
export const DEMO_BUDGETS = [1, 2, 4, 8, 16] as const

/** Policies of the comparison; mean-pool is PHSA's control, lambda 1. */
export const DEMO_POLICIES = ['phsa', 'mean-pool', 'infllm-v2'] as const
