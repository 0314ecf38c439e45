import type { AttentionSpec } from '@phsa/core'

/** The 0.6B model's attention at 32,768 tokens: what the Hopper kernels are written for. */
export const HOPPER_SPEC: AttentionSpec = {
  heads: 16,
  kvHeads: 8,
  headDim: 128,
  dtype: 'bf16',
  blockSize: 16,
  initTokens: 128,
  localTokens: 512,
  topK: 16,
  representatives: 1,
  score: 'softmax',
  denseBelow: 0,
}
