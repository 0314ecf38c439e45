import type { AttentionSpec, Layout } from '@phsa/core'
import type { ParamValues } from '../device/param-layout.js'
import type { ElementType } from '../device/shader-part.js'
import { blockStartsAt, keyStartsAt } from './sequence-numbers.js'

/** `Sequences` of sequences.wgsl. */
export const Sequences = {
  count: 'u32',
  queryTokens: 'u32',
  keyTokens: 'u32',
  blocks: 'u32',
  isPaged: 'u32',
  pagesPerSequence: 'u32',
  pageTokens: 'u32',
  queryStarts: 'u32',
  keyStarts: 'u32',
  blockStarts: 'u32',
  topK: 'u32',
  denseBelow: 'u32',
} as const

/** `Rules` of sequences.wgsl. */
export const Rules = {
  heads: 'u32',
  kvHeads: 'u32',
  blockSize: 'u32',
  initBlocks: 'u32',
  localBlocks: 'u32',
  topK: 'u32',
  representatives: 'u32',
  denseBelow: 'u32',
  score: 'u32',
  scale: 'f32',
  padding0: 'u32',
  padding1: 'u32',
} as const

/** Numbers of the score kinds: SOFTMAX and the ones after it in sequences.wgsl. */
const SCORES = { softmax: 0, logit: 1, overlap: 2 } as const

/** The `Sequences` of a packed layout. */
export function packedSequences(layout: Layout): ParamValues<typeof Sequences> {
  return {
    count: layout.sequences,
    queryTokens: layout.queryTokens,
    keyTokens: layout.keyTokens,
    blocks: layout.blocks,
    isPaged: 0,
    pagesPerSequence: 0,
    pageTokens: 0,
    queryStarts: 0,
    keyStarts: keyStartsAt(layout.sequences),
    blockStarts: blockStartsAt(layout.sequences),
    topK: 0,
    denseBelow: 0,
  }
}

/** The `Rules` of a spec. @param topK last extent of `selected` */
export function rulesOf(spec: AttentionSpec, topK = spec.topK): ParamValues<typeof Rules> {
  return {
    heads: spec.heads,
    kvHeads: spec.kvHeads,
    blockSize: spec.blockSize,
    initBlocks: spec.initTokens / spec.blockSize,
    localBlocks: spec.localTokens / spec.blockSize,
    topK,
    representatives: spec.representatives,
    denseBelow: Math.min(spec.denseBelow, 2 ** 30),
    score: SCORES[spec.score],
    scale: 1 / Math.sqrt(spec.headDim),
    padding0: 0,
    padding1: 0,
  }
}

/** Element type of q, k, v and out for kernels. */
export function elementOf({ dtype }: AttentionSpec): ElementType {
  return dtype === 'f16' ? 'f16' : 'f32'
}
