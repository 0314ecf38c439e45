import { candidateBlocks } from './candidate-blocks.js'
import { type AttentionSpec, isDense } from './contract/attention-spec.js'
import { bytesPerElement } from './contract/tensor.js'
import { derivedDType } from './derived-dtype.js'

/** The parameters that decide how many tokens a query sees. */
export type VisibilitySpec = Pick<AttentionSpec, 'blockSize' | 'initTokens' | 'localTokens' | 'topK'>

/** A, the most tokens that a query sees: initTokens + localTokens + topK m (spec 1). */
export function activatedTokens({ blockSize, initTokens, localTokens, topK }: VisibilitySpec): number {
  return initTokens + localTokens + topK * blockSize
}

/** 1 - A / L, the share of a context of `length` tokens that its last query does not see; 0 where A covers it (spec 1). */
export function sparsity(spec: VisibilitySpec, length: number): number {
  return Math.max(0, 1 - activatedTokens(spec) / length)
}

/** What the queries of a batch touch, summed over positions; for one query head. */
export interface AttentionCounts {
  /** Queries. */
  readonly queries: number
  /** Query-key pairs of attention. */
  readonly visible: number
  /** Query-key pairs of attention that lie in selected blocks. */
  readonly selected: number
  /** Query-representative pairs of scoring; for `overlap` query-kernel pairs. */
  readonly scored: number
  /** Rows of representatives, of one KV head; 0 where nothing is ever selected. */
  readonly representatives: number
  /** Query-key pairs of dense causal attention. */
  readonly causal: number
}

/**
 * Exact sums over the positions of sequences of these lengths, every token a query (spec 4, 5): early queries see less than A, the
 * block of the query itself counts up to the query, and only complete blocks (for `overlap`: kernels wholly past) are scored, by
 * queries that have a candidate.
 */
export function exactCounts(spec: AttentionSpec, lengths: readonly number[]): AttentionCounts {
  const counts = { queries: 0, visible: 0, selected: 0, scored: 0, representatives: 0, causal: 0 }
  for (const length of lengths) {
    counts.queries += length
    counts.causal += (length * (length + 1)) / 2
    counts.representatives += representativeRows(spec, length)
    if (isDense(spec)) counts.visible += (length * (length + 1)) / 2
    else for (let position = 0; position < length; position++) addPosition(counts, spec, position)
  }
  return counts
}

/**
 * The round numbers to plan with, L A keys and L L / 2m scores, as if every query scored: a little above the exact sums for L much larger
 * than A. Ignores denseBelow.
 */
export function ceilingCounts(spec: AttentionSpec, lengths: readonly number[]): AttentionCounts {
  const counts = { queries: 0, visible: 0, selected: 0, scored: 0, representatives: 0, causal: 0 }
  for (const length of lengths) {
    const half = (length * length) / 2
    counts.queries += length
    counts.causal += half
    counts.visible += Math.min(half, length * activatedTokens(spec))
    counts.selected += length * spec.topK * spec.blockSize
    counts.scored += spec.topK === 0 ? 0 : (half * spec.representatives) / spec.blockSize
    counts.representatives += representativeRows(spec, length)
  }
  return counts
}

/**
 * FLOPs and bytes of one layer's attention forward. A multiply-add is two FLOPs; exponentials and comparisons are not counted. Bytes are the
 * least that pooling, scoring and attention move as three kernels: each reads its inputs once and writes its results once. Token weights
 * (at most 8 bytes a token) are left out.
 */
export interface AttentionCost {
  /** One pass of scores against representatives, or against the kernels of `overlap`: 2 D a pair and head. */
  readonly scoreFlops: number
  /** Scores and weighted values of the visible keys: 4 D a pair and head. */
  readonly attentionFlops: number
  /** scorePasses x scoreFlops + attentionFlops. */
  readonly totalFlops: number
  /** The same for dense causal attention. */
  readonly denseFlops: number
  /** totalFlops / denseFlops. */
  readonly share: number
  /** Pooling reads k and writes the representatives; scoring reads q and them and writes `selected`, which attention reads. */
  readonly scoreBytes: number
  /** Attention reads q, k and v and writes out and lse: what dense attention moves as well. */
  readonly tensorBytes: number
  /** scoreBytes + tensorBytes. */
  readonly totalBytes: number
  /** k and v of the selected blocks where each query of a group gathers its own: what caches must carry. Not in totalBytes. */
  readonly gatheredBytes: number
}

/** Passes over the scores: an exact softmax needs its row's sum before it can add up heads, so kernels that keep no scores make two. */
export function scorePasses(spec: Pick<AttentionSpec, 'score'>): 1 | 2 {
  return spec.score === 'logit' ? 1 : 2
}

/**
 * Cost of one layer's attention forward (spec 1: it grows with L A for attention and L L / m for scoring). The FLOPs of pooling are left out: 2 L Hkv D.
 * @param counts from `exactCounts` or `ceilingCounts`
 * @param passes times that scores are computed; 1 for a kernel that keeps them
 */
export function attentionCost(spec: AttentionSpec, counts: AttentionCounts, passes: number = scorePasses(spec)): AttentionCost {
  const { heads, kvHeads, headDim, dtype, topK } = spec
  const scoreFlops = 2 * headDim * heads * counts.scored
  const attentionFlops = 4 * headDim * heads * counts.visible
  const totalFlops = passes * scoreFlops + attentionFlops
  const denseFlops = 4 * headDim * heads * counts.causal
  const elementBytes = bytesPerElement[dtype]
  const derivedBytes = bytesPerElement[derivedDType(dtype)]
  const queryBytes = counts.queries * heads * headDim * elementBytes
  const keyBytes = counts.queries * kvHeads * headDim * elementBytes
  const representativeBytes = counts.representatives * kvHeads * headDim * derivedBytes
  const selectedBytes = counts.queries * kvHeads * topK * bytesPerElement.i32
  const scoreBytes = counts.representatives === 0 ? 0 : keyBytes + queryBytes + 2 * representativeBytes + 2 * selectedBytes
  const tensorBytes = 2 * queryBytes + 2 * keyBytes + counts.queries * heads * derivedBytes
  return {
    scoreFlops,
    attentionFlops,
    totalFlops,
    denseFlops,
    share: denseFlops === 0 ? 1 : totalFlops / denseFlops,
    scoreBytes,
    tensorBytes,
    totalBytes: scoreBytes + tensorBytes,
    gatheredBytes: counts.selected * 2 * kvHeads * headDim * elementBytes,
  }
}

function addPosition(counts: { visible: number; selected: number; scored: number }, spec: AttentionSpec, position: number): void {
  const { blockSize, topK } = spec
  const { start, end } = candidateBlocks(spec, position)
  const outside = (end - start) * blockSize
  const selected = Math.min(topK * blockSize, outside)
  counts.selected += selected
  counts.visible += position + 1 - outside + selected
  // Nothing is scored where there is nothing to choose.
  if (selected > 0) counts.scored += scoredRows(spec, position)
}

/** What one query is scored against: the sub-blocks of its complete blocks, or the kernels wholly past it (`ScoreKind`). */
function scoredRows({ blockSize, representatives, score }: AttentionSpec, position: number): number {
  if (score !== 'overlap') return Math.floor((position + 1) / blockSize) * representatives
  // A kernel is two sub-blocks long and starts at each of them.
  return Math.max(0, Math.floor((position + 1) / (blockSize / representatives)) - 1)
}

/** Rows that pooling writes for a sequence, the partial last block's included (spec 3). */
function representativeRows(spec: AttentionSpec, length: number): number {
  return spec.topK === 0 || isDense(spec) ? 0 : Math.ceil(length / spec.blockSize) * spec.representatives
}
