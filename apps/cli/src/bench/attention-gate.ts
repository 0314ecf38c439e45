import { type AttentionBackend, type AttentionSpec, type HostArray, PackedLayout } from '@phsa/core'
import {
  type AttentionInputs,
  attentionInputs,
  attentionMagnitude,
  cancellingCheck,
  lseCheck,
  OracleStore,
  relativeCheck,
  rowwiseCheck,
  selectionChecks,
  selectionScores,
  type TensorCheck,
  tolerancesFor,
} from '@phsa/core/testing'
import { attentionCase, uploadProblem } from './attention-problem.js'
import type { BenchContext } from './bench-case.js'
import { evaluated } from './evaluated.js'

/** Queries of the measured shape that are compared, the last ones: they see the most keys. */
const TAIL = 32

/** Everything of one spec on a short sequence: selection, attention and gradients, by the bounds of spec 11. */
export async function checkShortAttention(
  { backend, reference }: BenchContext<AttentionBackend>,
  spec: AttentionSpec,
): Promise<TensorCheck[]> {
  // Windows, as many blocks as are chosen, twice as many to choose from, and a last block that is not full.
  const length = (spec.topK === 0 ? 128 : spec.initTokens + spec.localTokens) + 3 * spec.topK * spec.blockSize + 5
  const oracle = new OracleStore(reference).oracle(attentionCase(spec, length), 'f32')
  const { inputs } = oracle
  const tolerance = tolerancesFor(spec.dtype)
  const expected = { ...(await oracle.attended()), ...(await oracle.gradients()) }
  const selected = await oracle.selected()
  const actual = await evaluated(backend, () => {
    const problem = uploadProblem(backend, inputs, spec)
    const input = { ...problem, selected: backend.memory.upload(selected, [spec.kvHeads, length, spec.topK]) }
    const { out, lse } = backend.attention.attend(input)
    const { dq, dk, dv } = backend.attention.attendBackward({ ...input, out, lse })
    return { out, lse, dq, dk, dv }
  })
  const magnitude = await oracle.magnitude()
  return [
    ...(spec.topK === 0 ? [] : await checkSelection(backend, spec, inputs, await oracle.reps())),
    relativeCheck('out', actual.out, expected.out, tolerance.relative),
    rowwiseCheck('out', actual.out, expected.out, spec.headDim, tolerance.row),
    lseCheck('lse', actual.lse, expected.lse, magnitude.largestScore, tolerance.lse),
    cancellingCheck('dq', actual.dq, expected.dq, magnitude.dq, tolerance),
    cancellingCheck('dk', actual.dk, expected.dk, magnitude.dk, tolerance),
    relativeCheck('dv', actual.dv, expected.dv, tolerance.relative),
    rowwiseCheck('dv', actual.dv, expected.dv, spec.headDim, tolerance.row),
  ]
}

async function checkSelection(
  backend: AttentionBackend,
  spec: AttentionSpec,
  inputs: AttentionInputs,
  reps: HostArray,
): Promise<TensorCheck[]> {
  const actual = await evaluated(backend, () => {
    const { q, k, weights, layout } = uploadProblem(backend, inputs, spec)
    const reps = backend.attention.poolBlocks({ k, weights, layout, spec })
    return { reps, selected: backend.attention.selectBlocks({ q, reps, layout, spec }) }
  })
  const tolerance = tolerancesFor(spec.dtype)
  const scores = selectionScores({ q: inputs.q, reps, layout: inputs.layout, spec })
  return [
    relativeCheck('reps', actual.reps, reps, tolerance.relative),
    ...selectionChecks('selected', actual.selected, scores, inputs.layout, spec, tolerance.selection),
  ]
}

/** The measured shape itself, every query at once; its last queries are compared with the reference, the rest must be finite. */
export async function checkMeasuredAttention(
  { backend, reference }: BenchContext<AttentionBackend>,
  spec: AttentionSpec,
  length: number,
): Promise<TensorCheck[]> {
  const inputs = attentionInputs(attentionCase(spec, length), 'f32')
  const actual = await evaluated(backend, () => {
    const { q, k, v, dOut, weights, layout } = uploadProblem(backend, inputs, spec)
    const selected =
      spec.topK === 0
        ? backend.memory.alloc([spec.kvHeads, length, 0], 'i32')
        : backend.attention.selectBlocks({ q, reps: backend.attention.poolBlocks({ k, weights, layout, spec }), layout, spec })
    const input = { q, k, v, selected, layout, spec }
    const { out, lse } = backend.attention.attend(input)
    return { selected, out, lse, ...backend.attention.attendBackward({ ...input, out, lse, dOut }) }
  })
  const rows = Math.min(TAIL, length)
  const tail = tailInputs(inputs, spec, rows)
  const selected = lastOfEach(actual.selected, spec.kvHeads, rows * spec.topK)
  const last = (values: HostArray, width: number) => values.subarray(values.length - rows * width)
  const exact: AttentionSpec = { ...spec, dtype: 'f64' }
  const expected = await evaluated(reference, () => {
    const problem = uploadProblem(reference, tail, exact)
    const input = { ...problem, selected: reference.memory.upload(selected, [spec.kvHeads, rows, spec.topK]) }
    const { out, lse } = reference.attention.attend(input)
    const { dq } = reference.attention.attendBackward({ ...input, out, lse })
    const reps = reference.attention.poolBlocks({ ...problem })
    return { out, lse, dq, reps }
  })
  const tolerance = tolerancesFor(spec.dtype)
  const magnitude = attentionMagnitude({ ...tail, selected, spec })
  const width = spec.heads * spec.headDim
  const scores = spec.topK === 0 ? [] : selectionScores({ q: tail.q, reps: expected.reps, layout: tail.layout, spec })
  const named = (check: TensorCheck) => ({ ...check, name: `${check.name}, last ${rows} of ${length} queries` })
  return [
    ...(spec.topK === 0 ? [] : selectionChecks('selected', selected, scores, tail.layout, spec, tolerance.selection)),
    relativeCheck('out', last(actual.out, width), expected.out, tolerance.relative),
    rowwiseCheck('out', last(actual.out, width), expected.out, spec.headDim, tolerance.row),
    lseCheck('lse', last(actual.lse, spec.heads), expected.lse, magnitude.largestScore, tolerance.lse),
    cancellingCheck('dq', last(actual.dq, width), expected.dq, magnitude.dq, tolerance),
  ]
    .map(named)
    .concat(finiteCheck(actual))
}

/** The same keys with the last queries only. */
function tailInputs(inputs: AttentionInputs, spec: AttentionSpec, rows: number): AttentionInputs {
  const width = spec.heads * spec.headDim
  const last = (values: Float32Array) => values.subarray(values.length - rows * width)
  return {
    ...inputs,
    q: last(inputs.q),
    dOut: last(inputs.dOut),
    layout: new PackedLayout([inputs.layout.totalTokens], spec.blockSize, [rows]),
  }
}

/** The last `count` values of each of `groups` equal parts. */
function lastOfEach(values: HostArray, groups: number, count: number): Int32Array {
  const size = values.length / groups
  return Int32Array.from({ length: groups * count }, (_, index) => {
    const group = Math.floor(index / count)
    return values[(group + 1) * size - count + (index % count)]
  })
}

function finiteCheck(tensors: Readonly<Record<string, HostArray>>): TensorCheck {
  const broken = Object.keys(tensors).filter((name) => !tensors[name].every(Number.isFinite))
  return { name: 'values that are not finite', measured: broken.length, bound: 0, ok: broken.length === 0, detail: broken.join(', ') }
}
