import { type AttentionSpec, isPhsaError, PackedLayout, poolingWeights, RandomStream, type Tensor, uploadLayout } from '@phsa/core'
import type { TensorCheck } from '@phsa/core/testing'
import { type AttentionData, AttentionDataSource } from '../attention/attention-data.js'
import type { DeviceInputs } from '../attention/device-timing.js'
import { exactRepresentatives, type HostProblem } from '../attention/exact-rows.js'
import { type Computed, checkRows, checkTheseRows } from '../attention/gate.js'
import { neighbourOverlap } from '../attention/neighbour-overlap.js'
import { phaseWork } from '../attention/phase-work.js'
import type { Engine } from './engine.js'
import { timeCalls } from './wall-timing.js'
import type { AttentionPart, AttentionRow } from './webgpu-result.js'

/** Share of tokens that count as punctuation, as in English prose. */
const MARKS = 1 / 6
const LAMBDA = 0.5
/** Random rows that are compared with float64. */
const SAMPLES = 6
/** Where so many blocks can be chosen from, the overlap of neighbours' choices says something. */
const CANDIDATES = 64
/** Elements of `out` and of the gradient of q that are downloaded for the comparison; `lse` sums up the same scores. */
const MOST_DOWNLOADED = 2 ** 26

/** Attention on one sequence, made once for all engines and specs of a length. */
export interface AttentionProblem {
  readonly data: AttentionData
  readonly weights: Float32Array
  readonly representatives: Float64Array
  readonly length: number
}

/** Makes problems; that of the last length is kept. */
export function attentionProblems(): (spec: AttentionSpec, length: number) => AttentionProblem {
  const source = new AttentionDataSource()
  let last: AttentionProblem | undefined
  return (spec, length) => {
    if (last?.length === length) return last
    const random = new RandomStream(length)
    const marks = Uint8Array.from({ length }, () => (random.uniform() < MARKS ? 1 : 0))
    const weights = poolingWeights(marks, new PackedLayout([length], spec.blockSize), LAMBDA)
    const data = source.make({ ...spec, length }, 'A', 1)
    last = { data, weights, length, representatives: exactRepresentatives(hostProblem(data, weights, length), spec) }
    return last
  }
}

/** A problem on an engine, for specs of the same heads, block size and type. */
export interface OpenedAttention {
  measure(spec: AttentionSpec, attention: AttentionRow['attention']): Promise<AttentionRow>
  dispose(): void
}

/** Uploads a problem with the first of its specs. @throws what the backend says where it has no room */
export function openAttention(engine: Engine, problem: AttentionProblem, spec: AttentionSpec): OpenedAttention {
  const inputs = upload(engine, problem, spec)
  return {
    measure: (spec, attention) => measureAttention(engine, problem, inputs, spec, attention),
    dispose() {
      for (const tensor of tensorsOf(inputs)) tensor.dispose()
    },
  }
}

/** One spec, timed only after sampled rows agreed with float64. */
async function measureAttention(
  engine: Engine,
  problem: AttentionProblem,
  inputs: DeviceInputs,
  spec: AttentionSpec,
  attention: AttentionRow['attention'],
): Promise<AttentionRow> {
  const { length } = problem
  const row = { engine: engine.name, length, attention, spec }
  try {
    const computed = await compute(engine, inputs, spec)
    const gate = gateOf(checksOf(problem, spec, computed, attention))
    if (gate.failed.length > 0) return { ...row, outcome: 'wrong', gate }
    const from = spec.initTokens + spec.localTokens + CANDIDATES * spec.blockSize
    const overlap = neighbourOverlap({ selected: computed.selected, kvHeads: spec.kvHeads, length, topK: spec.topK }, from)
    const times = await timeParts(engine, inputs, spec)
    const work = phaseWork(spec, length)
    const flops = { pool: work.pool.flops, select: work.select.flops, attend: work.attend.flops, backward: work.backward.flops }
    return {
      ...row,
      outcome: 'measured',
      gate,
      ...(overlap === undefined ? {} : { overlap }),
      times,
      flops: { ...flops, forward: work.forward.flops, both: work.forward.flops + work.backward.flops },
    }
  } catch (error) {
    if (!(error instanceof Error) || isPhsaError(error, 'backend-lost')) throw error
    return { ...row, outcome: 'failed', reason: `${error.name}: ${error.message}` }
  }
}

/** The gradient of the output is q: numbers of the right shape. */
function hostProblem({ q, k, v }: AttentionData, weights: Float32Array, length: number): HostProblem {
  return { q, k, v, dOut: q, weights, length }
}

function upload({ backend: { memory } }: Engine, { data, weights, length }: AttentionProblem, spec: AttentionSpec): DeviceInputs {
  return memory.scope(() => {
    const rows = (values: Float32Array, heads: number) => memory.upload(values, [length, heads, spec.headDim], spec.dtype)
    const q = rows(data.q, spec.heads)
    return {
      q,
      k: rows(data.k, spec.kvHeads),
      v: rows(data.v, spec.kvHeads),
      dOut: q,
      weights: { kind: 'fused' as const, weights: memory.upload(weights, [length]) },
      layout: uploadLayout(memory, new PackedLayout([length], spec.blockSize)),
    }
  })
}

function tensorsOf({ q, k, v, weights, layout }: DeviceInputs): Tensor[] {
  const starts = [layout.queryStarts, layout.keyStarts, layout.blockStarts]
  return [q, k, v, ...starts, ...(weights.kind === 'fused' ? [weights.weights] : [])]
}

/** The queued calls of the parts; each leaves its tensors to the scope that is open. */
function partsOf({ backend: { attention, memory } }: Engine, { q, k, v, dOut, weights, layout }: DeviceInputs, spec: AttentionSpec) {
  const none = () => memory.alloc([spec.kvHeads, layout.queryTokens, 0], 'i32')
  const pool = () => attention.poolBlocks({ k, weights, layout, spec })
  const select = (reps: Tensor) => attention.selectBlocks({ q, reps, layout, spec })
  const attend = (selected: Tensor) => attention.attend({ q, k, v, selected, layout, spec })
  const choose = () => (spec.topK === 0 ? none() : select(pool()))
  const backward = (selected: Tensor, made: ReturnType<typeof attend>) =>
    attention.attendBackward({ q, k, v, selected, layout, spec, dOut, ...made })
  return { pool, select, attend, choose, backward }
}

async function compute(engine: Engine, inputs: DeviceInputs, spec: AttentionSpec): Promise<Computed> {
  const { memory } = engine.backend
  const parts = partsOf(engine, inputs, spec)
  const isDownloaded = inputs.layout.queryTokens * spec.heads * spec.headDim <= MOST_DOWNLOADED
  const made: Partial<Record<keyof Computed, Tensor>> = memory.scope(() => {
    const selected = parts.choose()
    const { out, lse } = parts.attend(selected)
    const { dq } = parts.backward(selected, { out, lse })
    return { selected, lse, ...(isDownloaded ? { out, dq } : {}) }
  })
  try {
    const values: [string, unknown][] = []
    // One after the other: each is a copy of its own until it has arrived.
    for (const [name, tensor] of Object.entries(made)) values.push([name, await memory.download(tensor)])
    return Object.fromEntries(values) as unknown as Computed
  } finally {
    for (const tensor of Object.values(made)) tensor.dispose()
  }
}

function checksOf(
  { data, weights, representatives, length }: AttentionProblem,
  spec: AttentionSpec,
  computed: Computed,
  attention: AttentionRow['attention'],
): TensorCheck[] {
  const problem = hostProblem(data, weights, length)
  if (attention === 'phsa') return checkRows(problem, representatives, spec, computed, SAMPLES)
  // Each of them sees all keys before it: few, and one of them the last.
  return checkTheseRows(problem, representatives, spec, computed, [0, spec.blockSize, Math.floor(length / 3), length - 1])
}

function gateOf(checks: readonly TensorCheck[]): NonNullable<AttentionRow['gate']> {
  const nearness = ({ measured, bound }: TensorCheck) => (bound === 0 ? measured : measured / bound)
  const [worst] = [...checks].sort((left, right) => nearness(right) - nearness(left))
  return { checks: checks.length, worst, failed: checks.filter(({ ok }) => !ok) }
}

async function timeParts(engine: Engine, inputs: DeviceInputs, spec: AttentionSpec): Promise<AttentionRow['times']> {
  const { memory } = engine.backend
  const parts = partsOf(engine, inputs, spec)
  const time = (call: () => unknown) => timeCalls(engine.finish, () => memory.scope(() => void call()))
  const held = memory.scope(() => {
    const selected = parts.choose()
    return { selected, reps: parts.pool(), ...parts.attend(selected) }
  })
  const { selected, reps, out, lse } = held
  try {
    const times: Partial<Record<AttentionPart, Awaited<ReturnType<typeof time>>>> = {}
    times.both = await time(() => {
      const chosen = parts.choose()
      parts.backward(chosen, parts.attend(chosen))
    })
    times.forward = await time(() => parts.attend(parts.choose()))
    if (spec.topK > 0) {
      times.pool = await time(parts.pool)
      times.select = await time(() => parts.select(reps))
      times.attend = await time(() => parts.attend(selected))
    } else {
      times.attend = times.forward
    }
    times.backward = await time(() => parts.backward(selected, { out, lse }))
    return times
  } finally {
    for (const tensor of Object.values(held)) tensor.dispose()
  }
}
