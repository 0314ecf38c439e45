import type { AttentionSpec } from '../contract/attention-spec.js'
import type { HostArray } from '../contract/tensor.js'
import type { PackedLayout } from '../packed-layout.js'
import { type QueryRow, queryRows } from './packed-rows.js'

/** What block scores are computed from, on the host. */
export interface ScoreInput {
  /** [Tq, Hq, D] */
  readonly q: HostArray
  /** [Hkv, blocks * r, D], exact layout */
  readonly reps: HostArray
  readonly layout: PackedLayout
  readonly spec: AttentionSpec
}

/**
 * S of every complete block (spec 4, 8), in float64 and written apart from the reference backend: what a choice of blocks is judged by.
 * @returns for each KV head and query row, the scores of its complete blocks; index g * Tq + row
 */
export function selectionScores(input: ScoreInput): Float64Array[] {
  const { layout, spec } = input
  const scores: Float64Array[] = []
  for (let kvHead = 0; kvHead < spec.kvHeads; kvHead++) {
    for (const row of queryRows(layout)) scores[kvHead * layout.totalQueries + row.row] = rowScores(input, kvHead, row)
  }
  return scores
}

function rowScores(input: ScoreInput, kvHead: number, row: QueryRow): Float64Array {
  const { spec } = input
  const r = spec.representatives
  const complete = Math.floor((row.position + 1) / spec.blockSize)
  if (spec.score === 'overlap') return overlapScores(input, kvHead, row, complete)
  const sums = new Float64Array(complete * r)
  for (const head of groupHeads(spec, kvHead)) {
    const logits = sums.map((_, index) => scaledScore(input, kvHead, row, head, index))
    const terms = spec.score === 'logit' ? logits : softmax(logits)
    for (let index = 0; index < sums.length; index++) sums[index] += terms[index]
  }
  return new Float64Array(complete).map((_, block) => Math.max(...sums.subarray(block * r, (block + 1) * r)))
}

/** Kernels of two neighbouring sub-blocks of 16 tokens; a block takes the largest of those that overlap it. */
function overlapScores(input: ScoreInput, kvHead: number, row: QueryRow, complete: number): Float64Array {
  const { spec } = input
  const size = spec.blockSize / spec.representatives
  const kernels = Math.max(0, Math.floor((row.position + 1) / size) - 1)
  const sums = new Float64Array(kernels)
  for (const head of groupHeads(spec, kvHead)) {
    const logits = sums.map(
      (_, kernel) => (scaledScore(input, kvHead, row, head, kernel) + scaledScore(input, kvHead, row, head, kernel + 1)) / 2,
    )
    const terms = softmax(logits)
    for (let index = 0; index < kernels; index++) sums[index] += terms[index]
  }
  return new Float64Array(complete).map((_, block) => {
    const first = Math.max(0, block * spec.representatives - 1)
    return Math.max(0, ...sums.subarray(first, (block + 1) * spec.representatives))
  })
}

function scaledScore({ q, reps, layout, spec }: ScoreInput, kvHead: number, row: QueryRow, head: number, index: number): number {
  const D = spec.headDim
  const r = spec.representatives
  const queryOffset = (row.row * spec.heads + head) * D
  const repOffset = ((kvHead * layout.totalBlocks + row.blockStart) * r + index) * D
  let sum = 0
  for (let d = 0; d < D; d++) sum += q[queryOffset + d] * reps[repOffset + d]
  return sum / Math.sqrt(D)
}

function groupHeads(spec: AttentionSpec, kvHead: number): number[] {
  const group = spec.heads / spec.kvHeads
  return Array.from({ length: group }, (_, index) => kvHead * group + index)
}

function softmax(logits: Float64Array): Float64Array {
  const largest = Math.max(...logits)
  const terms = logits.map((logit) => Math.exp(logit - largest))
  const total = terms.reduce((sum, term) => sum + term, 0)
  return terms.map((term) => term / total)
}
