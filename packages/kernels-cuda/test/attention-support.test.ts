import type { AttentionSpec } from '@phsa/core'
import { expect, test } from 'vitest'
import { attentionSupport } from '../src/attention/attention-support.js'

const SPEC: AttentionSpec = {
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

test.each<Partial<AttentionSpec>>([{}, { headDim: 32 }, { blockSize: 64, representatives: 32 }, { heads: 128 }, { topK: 64 }])(
  'takes %j',
  (change) => {
    expect(attentionSupport({ ...SPEC, ...change })).toEqual({ ok: true })
  },
)

test.each<[Partial<AttentionSpec>, string]>([
  [{ headDim: 96 }, 'headDim is 96; the kernels have 32, 64, 128.'],
  [{ blockSize: 48 }, 'blockSize is 48; the kernels have 8, 16, 32, 64.'],
  [{ heads: 136 }, '136 heads on 8 KV heads are 17 each; the kernels have 1 to 16.'],
  [{ blockSize: 64, representatives: 64 }, 'representatives is 64; the kernels have up to 32 a block.'],
])('refuses %j', (change, reason) => {
  expect(attentionSupport({ ...SPEC, ...change })).toEqual({ ok: false, reason })
})
