import { type AttentionSpec, candidateBlocks } from '@phsa/core'
import type { SampledQuery } from './sampled-query.js'

/** How often punctuation holds the attention that a selection must find. Counts, so that they add up over windows. */
export interface FarPunctuation {
  /** Queries with candidate blocks. */
  readonly queries: number
  /** Of these, the ones whose strongest far key is punctuation. */
  readonly strongest: number
  /** Keys in the candidate blocks of all these queries, and how many of them are punctuation: what chance would give. */
  readonly farKeys: number
  readonly farMarks: number
}

/**
 * Counts sampled queries of one KV head whose strongest far key is punctuation: of the keys in candidate blocks the one with the most dense attention
 * probability, summed over the heads of the group.
 * @param scores `[n, G, Tk]`, scaled
 * @param marks one byte a token, [Tk]
 */
export function farPunctuation(
  scores: ArrayLike<number>,
  queries: readonly SampledQuery[],
  marks: Uint8Array,
  spec: AttentionSpec,
): FarPunctuation {
  const group = spec.heads / spec.kvHeads
  const keys = marks.length
  const counts = { queries: 0, strongest: 0, farKeys: 0, farMarks: 0 }
  for (const [query, { position, firstKey }] of queries.entries()) {
    const { start, end } = candidateBlocks(spec, position)
    if (start === end) continue
    const [far, count] = [start * spec.blockSize, (end - start) * spec.blockSize]
    const strength = new Float64Array(count)
    for (let head = 0; head < group; head++) {
      const first = (query * group + head) * keys + firstKey
      addProbabilities(scores, first, position + 1, far, strength)
    }
    let best = 0
    for (let key = 1; key < count; key++) if (strength[key] > strength[best]) best = key
    counts.queries++
    counts.strongest += marks[firstKey + far + best] ? 1 : 0
    counts.farKeys += count
    for (let key = 0; key < count; key++) counts.farMarks += marks[firstKey + far + key] ? 1 : 0
  }
  return counts
}

/** Adds the softmax over the visible keys, of the far ones only. @param visible keys from `first` on that the query sees */
function addProbabilities(scores: ArrayLike<number>, first: number, visible: number, far: number, strength: Float64Array): void {
  let largest = Number.NEGATIVE_INFINITY
  for (let key = 0; key < visible; key++) largest = Math.max(largest, scores[first + key])
  let sum = 0
  for (let key = 0; key < visible; key++) sum += Math.exp(scores[first + key] - largest)
  for (let key = 0; key < strength.length; key++) strength[key] += Math.exp(scores[first + far + key] - largest) / sum
}
