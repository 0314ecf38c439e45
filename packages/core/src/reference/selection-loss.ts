import { candidateBlocks } from '../candidate-blocks.js'
import type { AttentionSpec } from '../contract/attention-spec.js'
import { findQueryRow, type HostLayout, type Reals } from './host-layout.js'
import { type QueryGroup, type RepresentativeRows, representativeLogits } from './score-blocks.js'
import { logSumExp } from './softmax.js'

/** Host form of `SelectionLossInput`. */
export interface SelectionLossArrays {
  /** [Tq, Hq, D] */
  readonly q: Reals
  /** [Hkv, blocks * r, D] */
  readonly reps: Reals
  /** [Hkv, n, maxBlocks] */
  readonly mass: Reals
  /** [n], -1 for none */
  readonly rows: Int32Array
}

/** One sampled query and KV head with at least one candidate. */
interface Sample {
  readonly queries: QueryGroup
  readonly reps: RepresentativeRows
  /** First candidate block. */
  readonly first: number
  /** T: teacher mass of each candidate block. */
  readonly teacher: Reals
}

/**
 * Block distillation loss - sum(T log P) / sum(T) over candidate blocks (spec 10); 0 where sum(T) is 0.
 * Every listed row counts, also below denseBelow, so that what is learned does not depend on it.
 */
export function selectionLoss(arrays: SelectionLossArrays, layout: HostLayout, spec: AttentionSpec): number {
  const { loss } = selectionLossBackward(arrays, layout, spec, 0)
  return loss
}

/** The loss without the coefficient, and with it the gradients dq [Tq, Hq, D] and dReps [Hkv, blocks * r, D]. */
export function selectionLossBackward(
  arrays: SelectionLossArrays,
  layout: HostLayout,
  spec: AttentionSpec,
  coefficient: number,
): { loss: number; dq: Float64Array; dReps: Float64Array } {
  const dq = new Float64Array(arrays.q.length)
  const dReps = new Float64Array(arrays.reps.length)
  const found = samples(arrays, layout, spec)
  let totalMass = 0
  for (const { teacher } of found) for (const mass of teacher) totalMass += mass
  if (totalMass === 0) return { loss: 0, dq, dReps }
  let loss = 0
  for (const sample of found) loss += sampleLoss(sample, spec, coefficient / totalMass, dq, dReps)
  return { loss: loss / totalMass, dq, dReps }
}

function samples({ q, reps, mass, rows }: SelectionLossArrays, layout: HostLayout, spec: AttentionSpec): Sample[] {
  const { heads, kvHeads, headDim, representatives } = spec
  const found: Sample[] = []
  for (const [index, row] of rows.entries()) {
    const query = findQueryRow(layout, row)
    if (!query) continue
    const { start: first, end } = candidateBlocks({ ...spec, denseBelow: 0 }, query.position)
    if (first === end) continue
    for (let kvHead = 0; kvHead < kvHeads; kvHead++) {
      const masses = (kvHead * rows.length + index) * layout.maxBlocks
      found.push({
        queries: { values: q, offset: (row * heads + (kvHead * heads) / kvHeads) * headDim },
        reps: { values: reps, offset: (kvHead * layout.blocks + query.blockStart) * representatives * headDim },
        first,
        teacher: mass.subarray(masses + first, masses + end),
      })
    }
  }
  return found
}

/** - sum(T log P) of one sample; adds its gradients, times `factor`, to dq and dReps. Kept in logarithms, so that no P is rounded to 0. */
function sampleLoss(sample: Sample, spec: AttentionSpec, factor: number, dq: Float64Array, dReps: Float64Array): number {
  const { headDim, representatives, heads, kvHeads } = spec
  const { queries, reps, first, teacher } = sample
  const group = heads / kvHeads
  const firstRep = first * representatives
  const count = teacher.length * representatives
  // log of each head's softmax over the sub-blocks of all candidates: [G][count]
  const logShares = Array.from({ length: group }, (_, head) => {
    const scores = representativeLogits(queries, head, reps, headDim, firstRep, firstRep + count)
    const total = logSumExp(scores)
    return scores.map((score) => score - total)
  })
  // log P, less the log of the head count: [candidates]
  const logSums = Float64Array.from(teacher, (_, block) => {
    const parts = logShares.map((shares) => shares.subarray(block * representatives, (block + 1) * representatives))
    return logSumExp(Float64Array.from(parts.flatMap((part) => [...part])))
  })
  let loss = 0
  for (const [block, mass] of teacher.entries()) if (mass > 0) loss -= mass * (logSums[block] - Math.log(group))

  for (const [head, shares] of logShares.entries()) {
    // T[t] * p[h, u] / (G P[t]): how much of its block's loss each sub-block of this head answers for
    const answers = shares.map((share, index) => {
      const block = Math.floor(index / representatives)
      return teacher[block] > 0 ? teacher[block] * Math.exp(share - logSums[block]) : 0
    })
    const headTotal = answers.reduce((sum, answer) => sum + answer, 0)
    const query = queries.offset + head * headDim
    for (let index = 0; index < count; index++) {
      const dScore = ((Math.exp(shares[index]) * headTotal - answers[index]) * factor) / Math.sqrt(headDim)
      const rep = reps.offset + (firstRep + index) * headDim
      for (let d = 0; d < headDim; d++) {
        dq[query + d] += dScore * reps.values[rep + d]
        dReps[rep + d] += dScore * queries.values[query + d]
      }
    }
  }
  return loss
}
