import type { AttentionSpec } from '../contract/attention-spec.js'

/** What cases start from: small, with first tokens, a window, a selection and two query heads a KV head; each case changes what it is about. */
export const BASE_SPEC: AttentionSpec = {
  heads: 4,
  kvHeads: 2,
  headDim: 32,
  dtype: 'f32',
  blockSize: 16,
  initTokens: 16,
  localTokens: 32,
  topK: 2,
  representatives: 1,
  score: 'softmax',
  denseBelow: 0,
}
