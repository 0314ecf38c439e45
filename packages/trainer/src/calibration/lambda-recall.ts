import { type AttentionSpec, candidateBlocks, topBlocks } from '@phsa/core'
import type { BranchScores } from './branch-scores.js'
import type { SampledQuery } from './sampled-query.js'

/** The dense attention of the sampled queries of one KV head, as shares of blocks. */
export interface HeadMasses {
  readonly queries: readonly SampledQuery[]
  /** `[n, maxBlocks]`: sums over the heads of the group, as `blockMass` gives them. */
  readonly masses: ArrayLike<number>
  readonly maxBlocks: number
  /** Says blocks, budget, score and representatives. */
  readonly spec: AttentionSpec
}

/**
 * Attention-mass recall of the blocks that PHSA with a lambda would choose, summed over the sampled queries of one KV head (spec 3, 4, 9): the scores of a
 * fused representative are the fused scores of both branches, so that a lambda costs no product of vectors.
 */
export function lambdaRecall(head: HeadMasses, scores: BranchScores, lambda: number): number {
  return recallSum(head, fusedScores(head, scores, lambda))
}

/** The same of the blocks of highest mass: what no choice at this budget surpasses. */
export function oracleRecall(head: HeadMasses): number {
  return recallSum(head, head.masses)
}

/** @param values `[n, maxBlocks]`: the candidates of highest value are chosen */
function recallSum({ queries, masses, maxBlocks, spec }: HeadMasses, values: ArrayLike<number>): number {
  const group = spec.heads / spec.kvHeads
  const positions = queries.map(({ position }) => position)
  const chosen = topBlocks({ values, maxBlocks, positions }, { ...spec, heads: group, kvHeads: 1 })
  let sum = 0
  for (const [row, position] of positions.entries()) {
    const { start, end } = candidateBlocks(spec, position)
    let hidden = 0
    for (let block = start; block < end; block++) hidden += masses[row * maxBlocks + block]
    for (let rank = 0; rank < spec.topK; rank++) {
      const block = chosen[row * spec.topK + rank]
      if (block >= 0) hidden -= masses[row * maxBlocks + block]
    }
    sum += 1 - hidden / group
  }
  return sum
}

/** S of every complete block of each query (spec 4), `[n, maxBlocks]`. */
function fusedScores({ queries, maxBlocks, spec }: HeadMasses, scores: BranchScores, lambda: number): Float64Array {
  const { blockSize, representatives } = spec
  const group = spec.heads / spec.kvHeads
  const values = new Float64Array(queries.length * maxBlocks)
  const sums = new Float64Array(maxBlocks * representatives)
  const row = new Float64Array(maxBlocks * representatives)
  for (const [query, { position, firstBlock }] of queries.entries()) {
    const complete = Math.floor((position + 1) / blockSize)
    const parts = complete * representatives
    sums.fill(0)
    for (let head = 0; head < group; head++) {
      const first = (query * group + head) * scores.subBlocks + firstBlock * representatives
      for (let part = 0; part < parts; part++) {
        row[part] = lambda * scores.global[first + part] + (1 - lambda) * scores.punctuation[first + part]
      }
      if (spec.score === 'softmax') softmax(row, parts)
      for (let part = 0; part < parts; part++) sums[part] += row[part]
    }
    for (let block = 0; block < complete; block++) {
      let best = sums[block * representatives]
      for (let part = 1; part < representatives; part++) best = Math.max(best, sums[block * representatives + part])
      values[query * maxBlocks + block] = best
    }
  }
  return values
}

/** Of the first `count` values, in place. */
function softmax(values: Float64Array, count: number): void {
  let largest = Number.NEGATIVE_INFINITY
  for (let index = 0; index < count; index++) largest = Math.max(largest, values[index])
  let sum = 0
  for (let index = 0; index < count; index++) {
    values[index] = Math.exp(values[index] - largest)
    sum += values[index]
  }
  for (let index = 0; index < count; index++) values[index] /= sum
}
