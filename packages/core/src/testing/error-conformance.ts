import type { AttentionSpec } from '../contract/attention-spec.js'
import type { AttentionCase } from './attention-case.js'
import { attentionInputs } from './attention-inputs.js'
import { type AttentionProblem, probeProblem } from './attention-problem.js'
import { BASE_SPEC } from './base-spec.js'
import type { CaseContext, ConformanceCase } from './conformance-case.js'
import { errorCheck } from './error-check.js'
import { Probe } from './probe.js'
import { booleanCheck, type TensorCheck } from './tensor-check.js'

const CASE: AttentionCase = {
  name: 'errors',
  spec: BASE_SPEC,
  keyLengths: [50],
  lambda: 0.5,
  inputs: 'normal',
  seed: 1,
  dtypes: ['f32'],
  checks: [],
}

type ErrorScenario = (context: CaseContext, probe: Probe, problem: AttentionProblem) => Promise<TensorCheck[]>

const scenarios: Readonly<Record<string, ErrorScenario>> = {
  'foreign-tensor': async ({ backend, reference }, probe, problem) => {
    const foreign = reference.memory.alloc([50, 4, 32], 'f32')
    const foreignKeys = reference.memory.alloc([50, 2, 32], 'f32')
    const selected = probe.changing(new Int32Array(200).fill(-1), [2, 50, 2], 'i32')
    const checks = [
      await errorCheck('attend', 'backend-mismatch', () => backend.attention.attend({ ...problem, q: foreign, selected })),
      await errorCheck('poolBlocks', 'backend-mismatch', () => backend.attention.poolBlocks({ ...problem, k: foreignKeys })),
      await errorCheck('download', 'backend-mismatch', () => backend.memory.download(foreign)),
      await errorCheck('reshape', 'backend-mismatch', () => backend.memory.reshape(foreign, [6400])),
    ]
    foreign.dispose()
    foreignKeys.dispose()
    return checks
  },
  'disposed-tensor': async ({ backend }, _, problem) => {
    const gone = backend.memory.alloc([50, 4, 32], 'f32')
    const selected = backend.memory.alloc([2, 50, 2], 'i32')
    const reps = backend.memory.alloc([2, 4, 32], 'f32')
    for (const tensor of [gone, selected, reps]) tensor.dispose()
    return [
      await errorCheck('attend', 'disposed', () => backend.attention.attend({ ...problem, selected })),
      await errorCheck('selectBlocks', 'disposed', () => backend.attention.selectBlocks({ ...problem, reps })),
      await errorCheck('blockMass', 'disposed', () =>
        backend.attention.blockMass({ ...problem, q: gone, rows: problem.layout.queryStarts }),
      ),
    ]
  },
  'wrong-shape': async ({ backend }, probe, problem) => {
    const { attention } = backend
    const short = probe.changing(new Float32Array(49 * 4 * 32), [49, 4, 32], 'f32')
    const selected = probe.changing(new Int32Array(200).fill(-1), [2, 50, 2], 'i32')
    const narrow = probe.changing(new Int32Array(100).fill(-1), [2, 50, 1], 'i32')
    const float = probe.changing(new Float32Array(200), [2, 50, 2], 'f32')
    const reps = probe.changing(new Float32Array(2 * 5 * 32), [2, 5, 32], 'f32')
    return [
      await errorCheck('attend with too few rows of q', 'shape', () => attention.attend({ ...problem, q: short, selected })),
      await errorCheck('attend with q for k', 'shape', () => attention.attend({ ...problem, k: problem.q, selected })),
      await errorCheck('attend with another topK', 'shape', () => attention.attend({ ...problem, selected: narrow })),
      await errorCheck('attend with selected in f32', 'shape', () => attention.attend({ ...problem, selected: float })),
      await errorCheck('selectBlocks with another block count', 'shape', () => attention.selectBlocks({ ...problem, reps })),
    ]
  },
  'unsupported-spec': async ({ backend }, probe, problem) => {
    // No backend can do these: the heads do not divide, the window is no multiple of m, integers are no activations.
    const refused: readonly AttentionSpec[] = [
      { ...BASE_SPEC, heads: 5 },
      { ...BASE_SPEC, localTokens: 40 },
      { ...BASE_SPEC, dtype: 'i32' },
    ]
    const selected = probe.changing(new Int32Array(200).fill(-1), [2, 50, 2], 'i32')
    const checks: TensorCheck[] = []
    for (const [index, spec] of refused.entries()) {
      const support = backend.supports(spec)
      checks.push(booleanCheck(`supports ${index} says no with a reason`, !support.ok && support.reason.length > 0))
      checks.push(await errorCheck(`attend ${index}`, 'unsupported', () => backend.attention.attend({ ...problem, selected, spec })))
      checks.push(await errorCheck(`prepare ${index}`, 'unsupported', () => backend.prepare([spec])))
    }
    await backend.prepare([BASE_SPEC])
    return checks
  },
  'foreign-cache': async ({ backend, reference }, probe, problem) => {
    const lambda = reference.memory.upload(Float32Array.of(0.5, 0.5), [2])
    const cache = reference.paged.createCache({ spec: BASE_SPEC, pages: 4, pageTokens: 16, lambda })
    const batch = {
      sequences: 1,
      queryTokens: 50,
      maxQueries: 50,
      maxKeys: 64,
      maxTopK: 2,
      queryStarts: problem.layout.queryStarts,
      keyLengths: probe.changing(Int32Array.of(50), [1], 'i32'),
      pageTable: probe.changing(Int32Array.of(0, 1, 2, 3), [1, 4], 'i32'),
      topK: probe.changing(Int32Array.of(2), [1], 'i32'),
      denseBelow: probe.changing(Int32Array.of(0), [1], 'i32'),
    }
    const marks = probe.changing(new Float32Array(50), [50], 'f32')
    const checks = [
      await errorCheck('append', 'backend-mismatch', () => backend.paged.append(cache, problem.k, problem.v, marks, batch)),
      await errorCheck('select', 'backend-mismatch', () => backend.paged.selectBlocks(cache, problem.q, batch)),
    ]
    cache.dispose()
    lambda.dispose()
    return checks
  },
  'backend-after-dispose': async ({ create }) => {
    const backend = await create()
    const tensor = backend.memory.alloc([2], 'f32')
    backend.dispose()
    backend.dispose()
    return [
      await errorCheck('alloc', 'disposed', () => backend.memory.alloc([2], 'f32')),
      await errorCheck('upload', 'disposed', () => backend.memory.upload(new Float32Array(2), [2])),
      await errorCheck('download', 'disposed', () => backend.memory.download(tensor)),
    ]
  },
}

/** What a backend must refuse, and with which error. */
export function errorConformance(): ConformanceCase[] {
  return Object.entries(scenarios).map(([name, run]) => ({
    name: `f32/errors/${name}`,
    dtype: 'f32',
    needs: 'attention',
    specs: [BASE_SPEC],
    flops: 0,
    run: (context) => runScenario(context, run),
  }))
}

async function runScenario(context: CaseContext, run: ErrorScenario): Promise<TensorCheck[]> {
  const probe = new Probe(context.backend)
  try {
    const problem = await probeProblem(probe, attentionInputs(CASE, 'f32'), BASE_SPEC, undefined)
    return [...(await run(context, probe, problem)), ...(await probe.canaries())]
  } finally {
    probe.dispose()
  }
}
