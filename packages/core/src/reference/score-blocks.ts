import type { AttentionSpec } from '../contract/attention-spec.js'
import { dot } from './dot.js'
import type { Reals } from './host-layout.js'
import { softmax } from './softmax.js'

/** The representatives of one sequence and KV head: row `index` starts at `offset + index * headDim`. */
export interface RepresentativeRows {
  readonly values: Reals
  readonly offset: number
}

/** The query heads of one KV head at one position: head `h` of the group starts at `offset + h * headDim`. */
export interface QueryGroup {
  readonly values: Reals
  readonly offset: number
}

/** Score S of each complete block for one query and KV head (spec 4, `ScoreKind`): [floor((position + 1) / m)]. */
export function scoreBlocks(queries: QueryGroup, reps: RepresentativeRows, spec: AttentionSpec, position: number): Float64Array {
  return spec.score === 'overlap' ? overlapScores(queries, reps, spec, position) : representativeScores(queries, reps, spec, position)
}

function representativeScores(queries: QueryGroup, reps: RepresentativeRows, spec: AttentionSpec, position: number): Float64Array {
  const { blockSize, representatives } = spec
  const complete = Math.floor((position + 1) / blockSize)
  const summed = sumOverGroup(queries, reps, spec, complete * representatives, spec.score === 'softmax')
  return Float64Array.from({ length: complete }, (_, block) => maximum(summed, block * representatives, (block + 1) * representatives))
}

/** InfLLM v2: kernel c is sub-blocks c and c + 1, visible when wholly past; a block takes the maximum over those that touch it (spec 8). */
function overlapScores(queries: QueryGroup, reps: RepresentativeRows, spec: AttentionSpec, position: number): Float64Array {
  const { blockSize, representatives, headDim } = spec
  const wholeSubBlocks = Math.floor((position + 1) / (blockSize / representatives))
  const kernels = Math.max(0, wholeSubBlocks - 1)
  // The mean of 32 keys is the mean of the means of their halves.
  const means = new Float64Array(kernels * headDim)
  for (let index = 0; index < means.length; index++) {
    means[index] = (reps.values[reps.offset + index] + reps.values[reps.offset + index + headDim]) / 2
  }
  const summed = sumOverGroup(queries, { values: means, offset: 0 }, spec, kernels, true)
  const complete = Math.floor((position + 1) / blockSize)
  return Float64Array.from({ length: complete }, (_, block) => {
    const first = Math.max(0, block * representatives - 1)
    const end = Math.min(kernels, (block + 1) * representatives)
    return first < end ? maximum(summed, first, end) : 0
  })
}

/** Sum over the heads of the group of the scaled scores, or of their softmax over all `count` rows together: [count]. */
function sumOverGroup(
  queries: QueryGroup,
  reps: RepresentativeRows,
  spec: AttentionSpec,
  count: number,
  normalised: boolean,
): Float64Array {
  const { heads, kvHeads, headDim } = spec
  const summed = new Float64Array(count)
  for (let head = 0; head < heads / kvHeads; head++) {
    const scores = representativeLogits(queries, head, reps, headDim, 0, count)
    const shares = normalised ? softmax(scores) : scores
    for (let index = 0; index < count; index++) summed[index] += shares[index]
  }
  return summed
}

/** q . M / sqrt(D) of one head for representatives `first` to `end - 1`. */
export function representativeLogits(
  queries: QueryGroup,
  head: number,
  reps: RepresentativeRows,
  headDim: number,
  first: number,
  end: number,
): Float64Array {
  const scale = 1 / Math.sqrt(headDim)
  const query = queries.offset + head * headDim
  return Float64Array.from({ length: end - first }, (_, index) => {
    return dot(queries.values, query, reps.values, reps.offset + (first + index) * headDim, headDim) * scale
  })
}

function maximum(values: Float64Array, first: number, end: number): number {
  let largest = values[first]
  for (let index = first + 1; index < end; index++) largest = Math.max(largest, values[index])
  return largest
}
