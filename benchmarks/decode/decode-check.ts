import { type AttentionSpec, candidateBlocks, type HostArray, PackedLayout, poolingWeights } from '@phsa/core'
import { boundedCheck, lseCheck, relativeCheck, type TensorCheck, tolerancesFor } from '@phsa/core/testing'
import { exactRepresentatives, exactRow, exactScores, type HostProblem } from '../attention/exact-rows.js'
import { checkChoice } from '../attention/gate.js'
import { CHUNK_TOKENS, type DecodeData, LAMBDA, marksOf } from './decode-cache.js'

/** Results of a step, and the query that they are for. */
export interface DecodeStep {
  /** [S, Hq, D] as the GPU holds it. */
  readonly queries: Float32Array
  /** i32 [Hkv, S, topK] */
  readonly selected: HostArray
  /** [S, Hq, D] */
  readonly out: HostArray
  /** f32 [S, Hq] */
  readonly lse: HostArray
  readonly sequences: number
}

/** Compares the last sequence of a step with float64, by the bounds of spec 11: the choice for each KV head, `out` and `lse` of each head. */
export function checkStep(spec: AttentionSpec, dense: boolean, data: DecodeData, length: number, step: DecodeStep): TensorCheck[] {
  const { heads, kvHeads, headDim: D, topK } = spec
  const { sequences } = step
  const sequence = sequences - 1
  const position = length - 1
  const problem = hostProblem(spec, data, sequence, length, step.queries.subarray(sequence * heads * D))
  const own = dense ? { ...spec, denseBelow: 2 ** 30 } : spec
  const chosenOf = (kvHead: number) =>
    step.selected.subarray((kvHead * sequences + sequence) * topK, (kvHead * sequences + sequence + 1) * topK)
  const tolerance = tolerancesFor(spec.dtype)
  const representatives = dense ? new Float64Array() : exactRepresentatives(problem, spec)
  const choices = Array.from({ length: dense ? 0 : kvHeads }, (_, kvHead) =>
    checkChoice(exactScores(problem, spec, representatives, position, kvHead), chosenOf(kvHead), candidateBlocks(spec, position)),
  )
  const exact = Array.from({ length: heads }, (_, head) =>
    exactRow(problem, own, chosenOf(Math.floor((head * kvHeads) / heads)), position, head),
  )
  const expected = new Float64Array(heads * D)
  for (const [head, { out }] of exact.entries()) expected.set(out, head * D)
  const fault = choices.find((choice) => choice.fault !== undefined)?.fault
  return [
    boundedCheck('selected form', choices.filter((choice) => choice.fault !== undefined).length, 0, fault),
    boundedCheck('selected score', Math.max(0, ...choices.map(({ shortfall }) => shortfall)), tolerance.selection),
    relativeCheck('out', step.out.subarray(sequence * heads * D), expected, tolerance.relative),
    lseCheck(
      'lse',
      step.lse.subarray(sequence * heads),
      Float64Array.from(exact, ({ lse }) => lse),
      Float64Array.from(exact, ({ largestScore }) => largestScore),
      tolerance.lse,
    ),
  ]
}

/** The sequence as one problem, whose last token is the query. */
function hostProblem(
  { heads, kvHeads, headDim: D, blockSize }: AttentionSpec,
  data: DecodeData,
  sequence: number,
  length: number,
  query: Float32Array,
): HostProblem {
  const width = kvHeads * D
  const repeated = (chunk: Float32Array) => {
    const all = new Float32Array(length * width)
    for (let start = 0; start < length; start += CHUNK_TOKENS)
      all.set(chunk.subarray(0, Math.min(CHUNK_TOKENS, length - start) * width), start * width)
    return all
  }
  const q = new Float32Array(length * heads * D)
  q.set(query.subarray(0, heads * D), (length - 1) * heads * D)
  const marks = Uint8Array.from(marksOf(sequence, length))
  return {
    q,
    k: repeated(data.hostKeys),
    v: repeated(data.hostValues),
    dOut: new Float32Array(length * heads * D),
    weights: poolingWeights(marks, new PackedLayout([length], blockSize), LAMBDA),
    length,
  }
}
