import { type AttentionSpec, isPhsaError, PackedLayout, poolingWeights, RandomStream, type Tensor, uploadLayout } from '@phsa/core'
import type { TensorCheck } from '@phsa/core/testing'
import type { CudaModelBackend } from '@phsa/kernels-cuda'
import type { AttentionData, AttentionDataSource } from './attention-data.js'
import type { DeviceRow } from './device-result.js'
import { type DeviceInputs, timeAttention } from './device-timing.js'
import { exactRepresentatives, type HostProblem } from './exact-rows.js'
import { type Computed, checkRows } from './gate.js'
import { neighbourOverlap } from './neighbour-overlap.js'
import { phaseWork } from './phase-work.js'
import type { PlannedProblem } from './table-rows.js'

/** From this length on the second set is a copy of the first in other memory: making and uploading another takes longer than to measure. */
const COPIED_FROM = 131_072
/** From this length on one set is many times the size of every cache. */
const ONE_SET_FROM = 262_144
/** Elements of `out` that are downloaded for the comparison: fewer for the curves, which compare long sequences by `lse`. */
const MOST_DOWNLOADED = { table: 2 ** 29, 'top-k': 2 ** 28, length: 2 ** 28 } as const
/** Where so many blocks can be chosen from, the overlap of neighbours' choices says something. */
const CANDIDATES = 64
/** Random rows that are compared with float64: fewer for the curves, whose specs are many. */
const SAMPLES = { table: 16, 'top-k': 3, length: 3 } as const
/** Share of tokens that count as punctuation, as in English prose. */
const MARKS = 1 / 6
const LAMBDA = 0.5

/** Measures the specs of a problem, each only after its sampled rows agreed with float64. Its tensors are freed. */
export async function* measureProblem(
  backend: CudaModelBackend,
  source: AttentionDataSource,
  { group, length, data, specs, backward }: PlannedProblem,
): AsyncGenerator<DeviceRow> {
  const [shape] = specs
  const sets = (length < COPIED_FROM ? [1, 2] : [1]).map((seed) => source.make({ ...shape, length }, data, seed))
  const weights = tokenWeights(length, shape.blockSize)
  const inputs = uploadInputs(backend, sets, length >= COPIED_FROM && length < ONE_SET_FROM, weights, shape, length)
  const problem: HostProblem = { ...sets[0], dOut: sets[sets.length - 1].q, weights, length }
  const representatives = exactRepresentatives(problem, shape)
  const timer = backend.createTimer()
  try {
    for (const spec of specs) {
      const row = { group, length, data, spec }
      try {
        const computed = await compute(backend, inputs[0], spec, backward, MOST_DOWNLOADED[group])
        const gate = gateOf(checkRows(problem, representatives, spec, computed, SAMPLES[group]))
        if (gate.failed.length > 0) {
          yield { ...row, outcome: 'wrong', gate }
          continue
        }
        const overlap = neighbourOverlap(
          { selected: computed.selected, kvHeads: spec.kvHeads, length, topK: spec.topK },
          spec.initTokens + spec.localTokens + CANDIDATES * spec.blockSize,
        )
        const times = timeAttention(backend, timer, inputs, spec, backward)
        yield { ...row, outcome: 'measured', gate, overlap, inputSets: inputs.length, times, work: phaseWork(spec, length) }
      } catch (error) {
        if (!isPhsaError(error, 'unsupported') && !isPhsaError(error, 'out-of-memory')) throw error
        yield { ...row, outcome: 'failed', reason: error.message }
      }
    }
  } finally {
    timer.dispose()
    dispose(inputs)
  }
}

function tokenWeights(length: number, blockSize: number): Float32Array {
  const random = new RandomStream(length)
  const marks = Uint8Array.from({ length }, () => (random.uniform() < MARKS ? 1 : 0))
  return poolingWeights(marks, new PackedLayout([length], blockSize), LAMBDA)
}

/** The gradient of one set's output is the other set's queries: numbers of the right shape that are there already. */
function uploadInputs(
  { memory }: CudaModelBackend,
  sets: readonly AttentionData[],
  isCopied: boolean,
  weights: Float32Array,
  spec: AttentionSpec,
  length: number,
): DeviceInputs[] {
  return memory.scope(() => {
    const rows = (values: Float32Array, heads: number) => memory.upload(values, [length, heads, spec.headDim], spec.dtype)
    const layout = uploadLayout(memory, new PackedLayout([length], spec.blockSize))
    const shared = { weights: { kind: 'fused' as const, weights: memory.upload(weights, [length]) }, layout }
    const uploaded = sets.map(({ q, k, v }) => ({ q: rows(q, spec.heads), k: rows(k, spec.kvHeads), v: rows(v, spec.kvHeads) }))
    const copy = (tensor: Tensor) => {
      const target = memory.alloc(tensor.shape, tensor.dtype)
      memory.copy(tensor, target)
      return target
    }
    if (isCopied) uploaded.push(...uploaded.map(({ q, k, v }) => ({ q: copy(q), k: copy(k), v: copy(v) })))
    return uploaded.map((one, index) => ({ ...one, dOut: uploaded[(index + 1) % uploaded.length].q, ...shared }))
  })
}

/** Runs everything once and downloads what is compared. */
async function compute(
  { attention, memory }: CudaModelBackend,
  { q, k, v, dOut, weights, layout }: DeviceInputs,
  spec: AttentionSpec,
  backward: boolean,
  mostDownloaded: number,
): Promise<Computed> {
  const made: Partial<Record<keyof Computed, Tensor>> = memory.scope(() => {
    const selected =
      spec.topK === 0
        ? memory.alloc([spec.kvHeads, layout.queryTokens, 0], 'i32')
        : attention.selectBlocks({ q, reps: attention.poolBlocks({ k, weights, layout, spec }), layout, spec })
    const { out, lse } = attention.attend({ q, k, v, selected, layout, spec })
    const isDownloaded = layout.queryTokens * spec.heads * spec.headDim <= mostDownloaded
    const { dq } = backward ? attention.attendBackward({ q, k, v, selected, layout, spec, dOut, out, lse }) : { dq: undefined }
    return { selected, lse, ...(isDownloaded ? { out, ...(dq ? { dq } : {}) } : {}) }
  })
  try {
    const values = await Promise.all(Object.entries(made).map(async ([name, tensor]) => [name, await memory.download(tensor)]))
    return Object.fromEntries(values)
  } finally {
    for (const tensor of Object.values(made)) tensor.dispose()
  }
}

function gateOf(checks: readonly TensorCheck[]): NonNullable<DeviceRow['gate']> {
  const nearness = ({ measured, bound }: TensorCheck) => (bound === 0 ? measured : measured / bound)
  const [worst] = [...checks].sort((left, right) => nearness(right) - nearness(left))
  return { checks: checks.length, worst, failed: checks.filter(({ ok }) => !ok) }
}

function dispose(inputs: readonly DeviceInputs[]): void {
  for (const { q, k, v, weights, layout } of inputs) {
    for (const tensor of [q, k, v, layout.queryStarts, layout.keyStarts, layout.blockStarts]) tensor.dispose()
    if (weights.kind === 'fused') weights.weights.dispose()
  }
}
