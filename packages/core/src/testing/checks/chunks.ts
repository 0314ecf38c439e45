import type { HostArray } from '../../contract/tensor.js'
import { PackedLayout } from '../../packed-layout.js'
import type { AttentionCase } from '../attention-case.js'
import { type AttentionInputs, hostTokenWeights } from '../attention-inputs.js'
import type { AttentionOracle } from '../attention-oracle.js'
import { probeProblem } from '../attention-problem.js'
import type { Probe } from '../probe.js'
import { relativeCheck } from '../relative-error.js'
import { identityCheck, type TensorCheck } from '../tensor-check.js'
import { tolerancesFor } from '../tolerances.js'

/** Shares of each sequence at which it is cut: chunks of very different lengths, borders anywhere in a block. */
const CUTS = [0, 0.31, 0.37, 0.9, 1]

interface Attended {
  readonly selected: HostArray
  readonly out: HostArray
  readonly lse: HostArray
}

/**
 * The backend against itself: sequences brought in chunks choose as the whole does (in f32 the same blocks) and give the same out and lse
 * for the whole's choice (spec 11). Every token of the case is a query.
 */
export async function checkChunks(probe: Probe, oracle: AttentionOracle, lambda: AttentionCase['lambda']): Promise<TensorCheck[]> {
  const { inputs, spec } = oracle
  const { heads, kvHeads, headDim, topK, dtype } = spec
  const whole = await attended(probe, oracle, inputs)
  const { layout } = inputs
  const joined = {
    selected: whole.selected.slice().fill(-2),
    out: whole.out.slice().fill(Number.NaN),
    lse: whole.lse.slice().fill(Number.NaN),
  }
  for (let cut = 1; cut < CUTS.length; cut++) {
    const ends = layout.keyLengths.map((length) => Math.round(length * CUTS[cut]))
    const starts = layout.keyLengths.map((length) => Math.round(length * CUTS[cut - 1]))
    const chunk = chunkOf(oracle, lambda, starts, ends)
    const queries = rowsOf(layout, starts, ends)
    const T = layout.totalQueries
    const given = Array.from({ length: kvHeads }, (_, kvHead) => pick(whole.selected.subarray(kvHead * T * topK), queries, topK))
    const part = await attended(probe, oracle, chunk, Int32Array.from(given.flatMap((blocks) => [...blocks])))
    put(joined.out, part.out, queries, heads * headDim)
    put(joined.lse, part.lse, queries, heads)
    for (let kvHead = 0; kvHead < kvHeads; kvHead++) {
      const own = part.selected.subarray(kvHead * queries.length * topK)
      put(joined.selected.subarray(kvHead * T * topK), own, queries, topK)
    }
  }
  const { relative } = tolerancesFor(dtype)
  const checks = [relativeCheck('out', joined.out, whole.out, relative), relativeCheck('lse', joined.lse, whole.lse, relative)]
  if (dtype === 'f32') checks.push(identityCheck('selected', joined.selected, whole.selected))
  return checks
}

/** @param given what `attend` takes; by default the backend's own choice */
async function attended(probe: Probe, { spec }: AttentionOracle, inputs: AttentionInputs, given?: Int32Array): Promise<Attended> {
  const problem = await probeProblem(probe, inputs, spec, undefined)
  const { attention } = probe.backend
  const shape = [spec.kvHeads, inputs.layout.totalQueries, spec.topK]
  const givenTensor = given && probe.input('selected', given, shape, 'i32')
  return probe.call(() => {
    const selected = attention.selectBlocks({ ...problem, reps: attention.poolBlocks(problem) })
    const { out, lse } = attention.attend({ ...problem, selected: givenTensor ?? selected })
    return { selected, out, lse }
  })
}

/** Queries `starts` to `ends - 1` of each sequence after all keys up to there. */
function chunkOf(
  { inputs, spec }: AttentionOracle,
  lambda: AttentionCase['lambda'],
  starts: readonly number[],
  ends: readonly number[],
): AttentionInputs {
  const { layout } = inputs
  const keys = rowsOf(
    layout,
    starts.map(() => 0),
    ends,
  )
  const queries = rowsOf(layout, starts, ends)
  const chunk = new PackedLayout(
    ends,
    spec.blockSize,
    ends.map((end, sequence) => end - starts[sequence]),
  )
  const [perKey, perQuery] = [spec.kvHeads * spec.headDim, spec.heads * spec.headDim]
  const punctuation = Uint8Array.from(keys, (row) => inputs.punctuation[row])
  return {
    q: pick(inputs.q, queries, perQuery),
    dOut: pick(inputs.dOut, queries, perQuery),
    k: pick(inputs.k, keys, perKey),
    v: pick(inputs.v, keys, perKey),
    layout: chunk,
    punctuation,
    weights: hostTokenWeights(punctuation, chunk, lambda, spec.kvHeads, spec.representatives),
  }
}

function rowsOf(layout: PackedLayout, starts: readonly number[], ends: readonly number[]): number[] {
  return starts.flatMap((start, sequence) =>
    Array.from({ length: ends[sequence] - start }, (_, index) => layout.keyStarts[sequence] + start + index),
  )
}

function pick<A extends HostArray>(data: A, rows: readonly number[], width: number): A {
  const picked = new (data.constructor as new (length: number) => A)(rows.length * width)
  for (const [index, row] of rows.entries()) picked.set(data.subarray(row * width, (row + 1) * width), index * width)
  return picked
}

function put(target: HostArray, part: HostArray, rows: readonly number[], width: number): void {
  for (const [index, row] of rows.entries()) target.set(part.subarray(index * width, (index + 1) * width), row * width)
}
