import { type AttentionSpec, candidateBlocks, type HostArray } from '@phsa/core'

/** What a GPU was given, on the host: rounded as the GPU holds it. One sequence, every token a query. */
export interface HostProblem {
  /** [T, Hq, D] */
  readonly q: Float32Array
  /** [T, Hkv, D] */
  readonly k: Float32Array
  readonly v: Float32Array
  /** [T, Hq, D] */
  readonly dOut: Float32Array
  /** f32 [T] */
  readonly weights: Float32Array
  readonly length: number
}

/** Attention of one query and head in float64. */
export interface ExactRow {
  /** [D] */
  readonly out: Float64Array
  readonly lse: number
  /** Largest |score|. */
  readonly largestScore: number
  /** Gradient of q, [D]. */
  readonly dq: Float64Array
  /** The same formula with absolute values inside (spec 11), [D]. */
  readonly dqMagnitude: Float64Array
}

/** Block representatives, float64 [Hkv, blocks, D] (spec 3). */
export function exactRepresentatives({ k, weights, length }: HostProblem, { kvHeads, headDim: D, blockSize }: AttentionSpec): Float64Array {
  const blocks = Math.ceil(length / blockSize)
  const representatives = new Float64Array(kvHeads * blocks * D)
  for (let token = 0; token < length; token++) {
    const block = Math.floor(token / blockSize)
    for (let kvHead = 0; kvHead < kvHeads; kvHead++) {
      const from = (token * kvHeads + kvHead) * D
      const to = (kvHead * blocks + block) * D
      for (let d = 0; d < D; d++) representatives[to + d] += weights[token] * k[from + d]
    }
  }
  return representatives
}

/** S of every complete block for one query and KV head (spec 4), r = 1. @param representatives from `exactRepresentatives` */
export function exactScores(
  { q, length }: HostProblem,
  { heads, kvHeads, headDim: D, blockSize, score }: AttentionSpec,
  representatives: Float64Array,
  position: number,
  kvHead: number,
): Float64Array {
  const blocks = Math.ceil(length / blockSize)
  const complete = Math.floor((position + 1) / blockSize)
  const group = heads / kvHeads
  const sums = new Float64Array(complete)
  for (let head = kvHead * group; head < (kvHead + 1) * group; head++) {
    const scores = new Float64Array(complete)
    for (let block = 0; block < complete; block++) {
      scores[block] = dot(q, (position * heads + head) * D, representatives, (kvHead * blocks + block) * D, D) / Math.sqrt(D)
    }
    const shares = score === 'softmax' ? softmax(scores).shares : scores
    for (let block = 0; block < complete; block++) sums[block] += shares[block]
  }
  return sums
}

/** One row of attention and of its backward pass over the forced and the chosen blocks (spec 5). @param chosen ascending, then -1 */
export function exactRow(
  { q, k, v, dOut }: HostProblem,
  spec: AttentionSpec,
  chosen: ArrayLike<number>,
  position: number,
  head: number,
): ExactRow {
  const { heads, kvHeads, headDim: D } = spec
  const kvHead = Math.floor((head * kvHeads) / heads)
  const query = (position * heads + head) * D
  const keys = visibleTokens(spec, chosen, position).map((token) => (token * kvHeads + kvHead) * D)
  const scores = Float64Array.from(keys, (key) => dot(q, query, k, key, D) / Math.sqrt(D))
  const { shares, lse } = softmax(scores)
  const products = Float64Array.from(keys, (key) => dot(dOut, query, v, key, D))
  const delta = shares.reduce((sum, share, index) => sum + share * products[index], 0)
  const [out, dq, dqMagnitude] = [new Float64Array(D), new Float64Array(D), new Float64Array(D)]
  for (const [index, key] of keys.entries()) {
    const slope = (shares[index] * (products[index] - delta)) / Math.sqrt(D)
    const steepest = (shares[index] * (Math.abs(products[index]) + Math.abs(delta))) / Math.sqrt(D)
    for (let d = 0; d < D; d++) {
      out[d] += shares[index] * v[key + d]
      dq[d] += slope * k[key + d]
      dqMagnitude[d] += steepest * Math.abs(k[key + d])
    }
  }
  return { out, lse, largestScore: scores.reduce((most, score) => Math.max(most, Math.abs(score)), 0), dq, dqMagnitude }
}

function visibleTokens(spec: AttentionSpec, chosen: ArrayLike<number>, position: number): number[] {
  const { start, end } = candidateBlocks(spec, position)
  const isChosen = new Set(Array.from(chosen))
  const tokens: number[] = []
  for (let token = 0; token <= position; token++) {
    const block = Math.floor(token / spec.blockSize)
    if (block < start || block >= end || isChosen.has(block)) tokens.push(token)
    // Nothing of a block that is not seen: on to the next one.
    else token = (block + 1) * spec.blockSize - 1
  }
  return tokens
}

function softmax(scores: Float64Array): { shares: Float64Array; lse: number } {
  const largest = scores.reduce((most, score) => Math.max(most, score), Number.NEGATIVE_INFINITY)
  const terms = scores.map((score) => Math.exp(score - largest))
  const total = terms.reduce((sum, term) => sum + term, 0)
  return { shares: terms.map((term) => term / total), lse: largest + Math.log(total) }
}

function dot(left: HostArray, leftStart: number, right: HostArray, rightStart: number, length: number): number {
  let sum = 0
  for (let index = 0; index < length; index++) sum += left[leftStart + index] * right[rightStart + index]
  return sum
}
