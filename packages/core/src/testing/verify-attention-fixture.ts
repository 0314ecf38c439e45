import type { AttentionBackend } from '../contract/attention-backend.js'
import type { HostArray } from '../contract/tensor.js'
import type { SafetensorsFile } from '../safetensors/parse-safetensors.js'
import { uploadLayout } from '../upload-layout.js'
import { cancellingCheck, lseCheck } from './attention-errors.js'
import { type AttentionFixture, readAttentionFixture } from './attention-fixture.js'
import { hostTokenWeights } from './attention-inputs.js'
import { attentionMagnitude } from './gradient-magnitude.js'
import { evaluate } from './probe.js'
import { relativeCheck, rowwiseCheck } from './relative-error.js'
import { selectionChecks } from './selection-check.js'
import { selectionScores } from './selection-scores.js'
import type { TensorCheck } from './tensor-check.js'
import { tolerancesFor } from './tolerances.js'

/** What a backend makes of a fixture. Plain JSON. */
export interface FixtureReport {
  readonly backend: string
  readonly device: string
  /** One line a tensor of the file; see spec 11 for the bounds. */
  readonly checks: readonly TensorCheck[]
  readonly ok: boolean
}

/**
 * Compares a backend with a fixture file (fixtures/README.md): representatives, both selections, attention and its gradients with the
 * file's `selected`, and block distillation where the file has it (spec 11). Runs in f32, the type of the fixtures.
 * @throws InvalidFileError for a file that is not of this form, UnsupportedError when the backend does not take its spec
 */
export async function verifyAttentionFixture(source: Uint8Array | SafetensorsFile, backend: AttentionBackend): Promise<FixtureReport> {
  const fixture = readAttentionFixture(source)
  const checks = [
    ...(await verifySelection(backend, fixture)),
    ...(await verifyAttention(backend, fixture)),
    ...(fixture.distillation ? await verifyDistillation(backend, fixture, fixture.distillation) : []),
  ]
  return { backend: backend.name, device: backend.device, checks, ok: checks.every((check) => check.ok) }
}

async function verifySelection(backend: AttentionBackend, fixture: AttentionFixture): Promise<TensorCheck[]> {
  const { spec, layout, lambda, punctuation } = fixture
  const tolerance = tolerancesFor(spec.dtype)
  const { reps, selected } = await evaluate(backend, () => {
    const { q, k, onDevice } = upload(backend, fixture)
    const host = hostTokenWeights(punctuation, layout, lambda.length === 1 ? lambda[0] : [...lambda], spec.kvHeads, spec.representatives)
    const vector = (data: Float32Array) => backend.memory.upload(data, [data.length])
    const weights =
      host.kind === 'fused'
        ? { kind: host.kind, weights: vector(host.weights) }
        : { kind: host.kind, global: vector(host.global), punctuation: vector(host.punctuation), lambda: vector(host.lambda) }
    const reps = backend.attention.poolBlocks({ k, weights, layout: onDevice, spec })
    return { reps, selected: backend.attention.selectBlocks({ q, reps, layout: onDevice, spec }) }
  })
  // The file's representatives are float64 results: the scores that both choices are judged by.
  const scores = selectionScores({ q: fixture.tensors.q, reps: fixture.tensors.reps, layout, spec })
  return [
    relativeCheck('reps', reps, fixture.tensors.reps, tolerance.relative),
    ...selectionChecks('selected', selected, scores, layout, spec, tolerance.selection),
    ...selectionChecks("file's selected", fixture.selected, scores, layout, spec, tolerance.selection),
  ]
}

async function verifyAttention(backend: AttentionBackend, fixture: AttentionFixture): Promise<TensorCheck[]> {
  const { spec, layout, tensors, selected } = fixture
  const tolerance = tolerancesFor(spec.dtype)
  const measured = await evaluate(backend, () => {
    const { q, k, v, dOut, onDevice } = upload(backend, fixture)
    const chosen = backend.memory.upload(selected, [spec.kvHeads, layout.totalQueries, spec.topK])
    const input = { q, k, v, selected: chosen, layout: onDevice, spec }
    const forward = backend.attention.attend(input)
    const { dq, dk, dv } = backend.attention.attendBackward({ ...input, ...forward, dOut })
    return { out: forward.out, lse: forward.lse, dq, dk, dv }
  })
  const magnitude = attentionMagnitude({ q: tensors.q, k: tensors.k, v: tensors.v, dOut: tensors.do, selected, layout, spec })
  return [
    relativeCheck('out', measured.out, tensors.out, tolerance.relative),
    rowwiseCheck('out', measured.out, tensors.out, spec.headDim, tolerance.row),
    lseCheck('lse', measured.lse, tensors.lse, magnitude.largestScore, tolerance.lse),
    cancellingCheck('dq', measured.dq, tensors.dq, magnitude.dq, tolerance),
    cancellingCheck('dk', measured.dk, tensors.dk, magnitude.dk, tolerance),
    relativeCheck('dv', measured.dv, tensors.dv, tolerance.relative),
    rowwiseCheck('dv', measured.dv, tensors.dv, spec.headDim, tolerance.row),
  ]
}

/** Through weights of kind `branches`, so that lambda has a gradient; a scalar lambda is every head's, and its gradient their sum. */
async function verifyDistillation(
  backend: AttentionBackend,
  fixture: AttentionFixture,
  expected: NonNullable<AttentionFixture['distillation']>,
): Promise<TensorCheck[]> {
  const { spec, layout, lambda, punctuation } = fixture
  const { attention, memory } = backend
  const bound = tolerancesFor(spec.dtype).relative
  const perHead = lambda.length === 1 ? new Array<number>(spec.kvHeads).fill(lambda[0]) : [...lambda]
  const host = hostTokenWeights(punctuation, layout, perHead, spec.kvHeads, spec.representatives)
  if (host.kind === 'fused') throw new TypeError('a lambda per head makes weights of kind branches')
  const measured = await evaluate(backend, () => {
    const { q, k, onDevice } = upload(backend, fixture)
    const vector = (data: Float32Array | Int32Array) => memory.upload(data, [data.length])
    const weights = { kind: host.kind, global: vector(host.global), punctuation: vector(host.punctuation), lambda: vector(host.lambda) }
    const rows = vector(expected.positions)
    const reps = attention.poolBlocks({ k, weights, layout: onDevice, spec })
    const mass = attention.blockMass({ q, k, rows, layout: onDevice, spec })
    const dq = memory.alloc(q.shape, spec.dtype)
    const dk = memory.alloc(k.shape, spec.dtype)
    const dLambda = memory.alloc([spec.kvHeads], 'f32')
    const input = { q, reps, mass, rows, layout: onDevice, spec }
    const { dReps, loss } = attention.selectionLossBackward({ ...input, coefficient: 1, dq })
    attention.poolBlocksBackward({ k, weights, layout: onDevice, spec, dReps, dk, dLambda })
    return { forward: attention.selectionLoss(input), loss, dq, dk, dLambda }
  })
  const dLambda: HostArray = expected.dlambda.length === 1 ? Float64Array.of(sum(measured.dLambda)) : measured.dLambda
  return [
    relativeCheck('distil.loss', measured.forward, expected.loss, bound),
    relativeCheck('distil.loss of the backward', measured.loss, expected.loss, bound),
    relativeCheck('distil.dq', measured.dq, expected.dq, bound),
    relativeCheck('distil.dk', measured.dk, expected.dk, bound),
    relativeCheck('distil.dlambda', dLambda, expected.dlambda, bound),
  ]
}

function upload(backend: AttentionBackend, { spec, layout, tensors }: AttentionFixture) {
  const rows = (data: HostArray, heads: number) => backend.memory.upload(data, [layout.totalTokens, heads, spec.headDim], spec.dtype)
  return {
    q: rows(tensors.q, spec.heads),
    k: rows(tensors.k, spec.kvHeads),
    v: rows(tensors.v, spec.kvHeads),
    dOut: rows(tensors.do, spec.heads),
    onDevice: uploadLayout(backend.memory, layout),
  }
}

function sum(values: HostArray): number {
  let total = 0
  for (const value of values) total += value
  return total
}
