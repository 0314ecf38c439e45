import { type AttentionSpec, branchWeights, PackedLayout, RandomStream } from '../../src/index.js'
import type { HostLayout } from '../../src/reference/host-layout.js'
import type { HostTokenWeights } from '../../src/reference/pool-blocks.js'
import { normals } from './numerical-gradient.js'

/** Small enough for finite differences: blocks of 4, one forced first block, a window of one block, two selected. */
export const smallSpec: AttentionSpec = {
  heads: 4,
  kvHeads: 2,
  headDim: 4,
  dtype: 'f64',
  blockSize: 4,
  initTokens: 4,
  localTokens: 4,
  topK: 2,
  representatives: 2,
  score: 'softmax',
  denseBelow: 0,
}

/** A packed layout as kernels read it. */
export function hostLayout(packed: PackedLayout): HostLayout {
  return {
    sequences: packed.sequences,
    queryTokens: packed.totalQueries,
    keyTokens: packed.totalTokens,
    blocks: packed.totalBlocks,
    maxBlocks: packed.maxBlocks,
    queryStarts: packed.queryStarts,
    keyStarts: packed.keyStarts,
    blockStarts: packed.blockStarts,
  }
}

/** Random q, k, v and branch weights of sequences; every fourth token or so is punctuation. */
export function problem(spec: AttentionSpec, keyLengths: readonly number[], queryLengths = keyLengths) {
  const packed = new PackedLayout(keyLengths, spec.blockSize, queryLengths)
  const random = new RandomStream(9)
  const marks = Uint8Array.from({ length: packed.totalTokens }, () => (random.uniform() < 0.25 ? 1 : 0))
  const weights: HostTokenWeights = {
    kind: 'branches',
    ...branchWeights(marks, packed, spec.representatives),
    lambda: Float64Array.from({ length: spec.kvHeads }, (_, head) => 0.3 + 0.4 * head),
  }
  return {
    packed,
    layout: hostLayout(packed),
    marks,
    weights,
    q: normals(packed.totalQueries * spec.heads * spec.headDim, 1),
    k: normals(packed.totalTokens * spec.kvHeads * spec.headDim, 2),
    v: normals(packed.totalTokens * spec.kvHeads * spec.headDim, 3),
  }
}
