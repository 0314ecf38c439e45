import { type AttentionSpec, candidateBlocks, type HostArray } from '@phsa/core'
import {
  boundedCheck,
  cancellingCheck,
  frobeniusNorm,
  lseCheck,
  relativeCheck,
  rowwiseCheck,
  type TensorCheck,
  tolerancesFor,
} from '@phsa/core/testing'
import { exactRow, exactScores, type HostProblem } from './exact-rows.js'
import { sampledRows } from './sampled-rows.js'

/** Results of a GPU for a whole sequence. */
export interface Computed {
  /** i32 [Hkv, T, topK] */
  readonly selected: HostArray
  /** f32 [T, Hq] */
  readonly lse: HostArray
  /** [T, Hq, D]; absent where it has more elements than a host array should. */
  readonly out?: HostArray
  /** [T, Hq, D]; absent where no backward pass is measured. */
  readonly dq?: HostArray
}

/** Multiplications that the scores of the sampled rows may take: about two seconds. */
const MOST_SCORING = 2e9

/**
 * Compares sampled rows of every head with float64, by the bounds of spec 11: the choice of blocks, and attention and the gradient of q over the
 * blocks that were chosen. Gradients of k and v sum over all queries; the conformance suite compares those.
 * @param representatives from `exactRepresentatives`; any where nothing is chosen
 * @param most rows at random, besides the borders
 */
export function checkRows(
  problem: HostProblem,
  representatives: Float64Array,
  spec: AttentionSpec,
  computed: Computed,
  most: number,
): TensorCheck[] {
  const { length } = problem
  const cost = (spec.heads * spec.headDim * length) / spec.blockSize
  const count = Math.max(4, Math.min(most, Math.floor(MOST_SCORING / cost)))
  return checkTheseRows(problem, representatives, spec, computed, sampledRows(spec, length, count))
}

/** The same for rows that are given: dense attention of a long sequence takes seconds for each. */
export function checkTheseRows(
  problem: HostProblem,
  representatives: Float64Array,
  spec: AttentionSpec,
  computed: Computed,
  rows: readonly number[],
): TensorCheck[] {
  const { length } = problem
  const chosenOf = (kvHead: number, row: number) => {
    const start = (kvHead * length + row) * spec.topK
    return computed.selected.subarray(start, start + spec.topK)
  }
  const choices = rows.flatMap((row) =>
    Array.from({ length: spec.topK === 0 ? 0 : spec.kvHeads }, (_, kvHead) =>
      checkChoice(exactScores(problem, spec, representatives, row, kvHead), chosenOf(kvHead, row), candidateBlocks(spec, row)),
    ),
  )
  const tolerance = tolerancesFor(spec.dtype)
  const fault = choices.find((choice) => choice.fault !== undefined)?.fault
  const faults = choices.filter((choice) => choice.fault !== undefined).length
  const worst = choices.reduce((most, { shortfall }) => Math.max(most, shortfall), 0)
  return [
    boundedCheck('selected form', faults, 0, fault),
    boundedCheck('selected score', worst, tolerance.selection, 'a chosen block scores too far below the topK-th best'),
    ...checkAttention(problem, spec, computed, rows, chosenOf),
  ]
}

interface Choice {
  readonly fault?: string
  /** How far the worst chosen block lies below the topK-th best, over the largest |S| of the candidates. */
  readonly shortfall: number
}

/** One row's choice against exact scores (spec 11). */
export function checkChoice(scores: Float64Array, chosen: ArrayLike<number>, { start, end }: { start: number; end: number }): Choice {
  const blocks = Array.from(chosen)
  const count = Math.min(blocks.length, end - start)
  const taken = blocks.slice(0, count)
  const isRight = taken.every((block, index) => block >= start && block < end && (index === 0 || block > taken[index - 1]))
  if (!isRight || blocks.slice(count).some((block) => block !== -1)) {
    return { fault: `${blocks.join(' ')} are not ${count} ascending blocks from ${start} to ${end - 1}, then -1`, shortfall: 0 }
  }
  if (count === 0) return { shortfall: 0 }
  const candidates = scores.slice(start, end).sort()
  const largest = Math.max(Math.abs(candidates[0]), Math.abs(candidates[candidates.length - 1]))
  const lowest = Math.min(...taken.map((block) => scores[block]))
  return { shortfall: largest === 0 ? 0 : Math.max(0, candidates[candidates.length - count] - lowest) / largest }
}

function checkAttention(
  problem: HostProblem,
  spec: AttentionSpec,
  computed: Computed,
  rows: readonly number[],
  chosenOf: (kvHead: number, row: number) => HostArray,
): TensorCheck[] {
  const { heads, kvHeads, headDim: D } = spec
  const places = rows.flatMap((row) => Array.from({ length: heads }, (_, head) => ({ row, head })))
  const exact = places.map(({ row, head }) => exactRow(problem, spec, chosenOf(Math.floor((head * kvHeads) / heads), row), row, head))
  const picked = (values: HostArray) =>
    joined(places.map(({ row, head }) => values.subarray((row * heads + head) * D, (row * heads + head + 1) * D)))
  const tolerance = tolerancesFor(spec.dtype)
  const lse = Float64Array.from(places, ({ row, head }) => computed.lse[row * heads + head])
  const scores = Float64Array.from(exact, ({ largestScore }) => largestScore)
  const checks = [
    lseCheck(
      'lse',
      lse,
      Float64Array.from(exact, (row) => row.lse),
      scores,
      tolerance.lse,
    ),
  ]
  if (computed.out) {
    const out = picked(computed.out)
    const expected = joined(exact.map((row) => row.out))
    checks.push(relativeCheck('out', out, expected, tolerance.relative), rowwiseCheck('out', out, expected, D, tolerance.row))
  }
  if (computed.dq) {
    const magnitude = frobeniusNorm(joined(exact.map(({ dqMagnitude }) => dqMagnitude)))
    checks.push(cancellingCheck('dq', picked(computed.dq), joined(exact.map(({ dq }) => dq)), magnitude, tolerance))
  }
  return checks
}

function joined(parts: readonly HostArray[]): Float64Array {
  const values = new Float64Array(parts.reduce((sum, { length }) => sum + length, 0))
  let end = 0
  for (const part of parts) {
    values.set(part, end)
    end += part.length
  }
  return values
}
