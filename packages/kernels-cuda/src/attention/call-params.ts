import type { AttentionSpec, Layout } from '@phsa/core'
import type { KernelMemory } from './kernel-host.js'
import type { Rules, Sequences } from './kernel-params.js'
import type { ParamValues } from './param-layout.js'

/** Numbers of the score kinds: Score of sequences.cuh. */
const SCORES = { softmax: 0, logit: 1, overlap: 2 } as const

/** The `Sequences` of a packed layout. */
export function packedSequences(memory: KernelMemory, layout: Layout): ParamValues<typeof Sequences> {
  return {
    queryStarts: memory.address(layout.queryStarts),
    keyStarts: memory.address(layout.keyStarts),
    blockStarts: memory.address(layout.blockStarts),
    keyLengths: 0n,
    pageTable: 0n,
    topK: 0n,
    denseBelow: 0n,
    sequences: layout.sequences,
    queryTokens: layout.queryTokens,
    keyTokens: layout.keyTokens,
    blocks: layout.blocks,
    pagesPerSequence: 0,
    pageTokens: 0,
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
  }
}

/** Name of a kernel that is compiled for each element type and head dimension, such as `attend_bf16_d128`. */
export function kernelName(operation: string, { dtype, headDim }: AttentionSpec): string {
  return `${operation}_${dtype}_d${headDim}`
}

/** Query heads of a KV head that a warp works on at once: 1, 2 or 4. */
export function headsAtOnce({ heads, kvHeads }: AttentionSpec): number {
  const group = heads / kvHeads
  return group > 2 ? 4 : group
}
