import { type ModelBackend, phsaConfig, ReferenceBackend, type Tensor } from '@phsa/core'
import type { TensorCheck } from '@phsa/core/testing'
import { expect, test } from 'vitest'
import type { MeasurableBackend } from '../model/bench-context.js'
import { benchModel } from '../model/bench-model.js'
import { checkFlatTraining } from '../model/flat-training.js'
import { hostTimer } from '../model/host-timer.js'
import { checkModel } from '../model/model-gate.js'
import { fullPlan, MODEL_GROUPS, type ModelPlan, smallPlan } from '../model/model-plan.js'
import type { ModelResult } from '../model/model-result.js'

const { config, ...small } = smallPlan(MODEL_GROUPS)
const TINY: ModelPlan = {
  ...small,
  dtype: 'f32',
  config: { ...config, vocabSize: 128, hiddenSize: 16, intermediateSize: 24, heads: 2, kvHeads: 1, headDim: 32, maxPositions: 128 },
  phsa: phsaConfig({ blockSize: 8, initTokens: 8, localTokens: 16, topK: 2 }),
  rows: [
    { group: 'prefill', length: 40, attention: 'phsa', form: 'packed' },
    { group: 'prefill', length: 40, attention: 'dense', form: 'paged' },
    { group: 'train', length: 40, attention: 'phsa' },
    { group: 'train', length: 20, sequences: 2, attention: 'dense', recompute: true },
    { group: 'decode', length: 40, attention: 'phsa', planned: 3 },
    { group: 'decode', length: 40, attention: 'dense', planned: 64 },
  ],
  chunk: 16,
  memorySteps: 0,
  productSize: 8,
}

/** Records by computing once more, so that the results of a replay are those of the step. */
function measurable(): MeasurableBackend {
  const backend = new ReferenceBackend()
  return Object.assign(backend, {
    createTimer: () => hostTimer(),
    deviceMemory: () => ({ freeBytes: 3e6, totalBytes: 3e6 }),
    capture: async <T>(step: () => T) => {
      const result = backend.memory.scope(step)
      return { result, replay: () => backend.memory.scope(() => void step()), dispose: () => undefined }
    },
  })
}

async function bench(plan: ModelPlan, seconds: number, gate: readonly TensorCheck[] = []): Promise<ModelResult> {
  const backend = measurable()
  try {
    return await benchModel({ backend, plan, check: async () => gate, seconds, write: () => undefined, log: () => undefined })
  } finally {
    backend.dispose()
  }
}

test('every kind of row is measured', async () => {
  const { rows, matrixFlops, parameters } = await bench(TINY, 1000)
  expect(matrixFlops).toBeGreaterThan(0)
  expect(parameters).toBeGreaterThan(0)
  expect(rows.map((row) => (row.outcome === 'measured' ? 'measured' : row.reason))).toEqual(rows.map(() => 'measured'))
  const [prefill, paged, train, recomputing, decode, crowd] = rows.map((row) => (row.outcome === 'measured' ? row : undefined))
  expect(Object.keys(prefill!.classes).sort()).toEqual(
    ['add', 'attend', 'embedding', 'head', 'linear', 'memory', 'pool', 'qkNormRope', 'rmsNorm', 'select', 'swiglu'].sort(),
  )
  expect(prefill!.classes.attend.calls).toBe(2)
  expect(prefill!.classes.linear.flops).toBe(2 * 2 * 40 * (16 * (64 + 32 + 32) + 64 * 16 + 3 * 16 * 24))
  expect(paged!.classes.append.calls).toBe(2 * 3)
  expect(Object.keys(train!.classes)).toContain('adamw')
  expect([train, recomputing].map((row) => row!.classes.linear.calls)).toEqual([1 + 2 * 7, 1 + 2 * 2 * 7])
  // Besides the one product of a loss and 0: forty tokens, however they are packed.
  expect(recomputing!.classes.linear.flops - 2).toBe(2 * (train!.classes.linear.flops - 2))
  expect(train!.captured?.elapsed.samples.length).toBe(train!.queued.elapsed.samples.length)
  expect(decode).toMatchObject({ batch: 3 })
  expect(decode!.classes.attend.calls).toBe(2)
  expect(decode!.captured).toBeDefined()
  // Three megabytes hold fewer caches than that.
  expect(crowd!.batch).toBeLessThan(64)
})

test('the check compares loss, logits and gradients, dense and sparse, in both types, and sees a wrong op', async () => {
  const backend = new ReferenceBackend()
  const checks = await checkModel(backend)
  expect(checks.map(({ ok }) => ok)).toEqual(checks.map(() => true))
  expect(checks).toHaveLength(16)
  const swiglu = backend.ops.swiglu
  const wrong: ModelBackend = Object.assign(backend, { ops: { ...backend.ops, swiglu: (gate: Tensor, up: Tensor) => swiglu(up, gate) } })
  expect((await checkModel(wrong)).filter(({ ok }) => ok)).toEqual([])
})

test('nothing is measured where a check fails', async () => {
  const failed = { name: 'loss', measured: 1, bound: 0, ok: false }
  expect(await bench(TINY, 1000, [failed])).toMatchObject({ gate: [failed], rows: [] })
})

test('what would not be done in time is left out', async () => {
  const { rows } = await bench({ ...TINY, rows: TINY.rows.slice(0, 2) }, 0)
  expect(rows.map(({ outcome }) => outcome)).toEqual(['left-out', 'left-out'])
})

test('the plan of the issue has every prompt, step and batch; --only leaves the others out', () => {
  const { rows } = fullPlan(MODEL_GROUPS)
  expect(rows.filter(({ group, attention }) => group === 'prefill' && attention === 'phsa').map(({ length }) => length)).toEqual([
    4096, 32_768, 131_072, 32_768,
  ])
  expect(rows.at(-1)).toMatchObject({ group: 'prefill', attention: 'dense', length: 131_072 })
  expect(rows.filter(({ group }) => group === 'decode')).toHaveLength(12)
  expect(new Set(fullPlan(['train']).rows.map(({ group }) => group))).toEqual(new Set(['train']))
})

test('memory stays flat over training steps, and a leak is seen', async () => {
  const backend = measurable()
  expect(await checkFlatTraining(backend, 3, { ...TINY.config, maxPositions: 24 })).toMatchObject({ calls: 3, flat: true })
  let leaked = 0
  const leaking = Object.assign(backend, { deviceMemory: () => ({ freeBytes: 3e6 - leaked++, totalBytes: 3e6 }) })
  expect(await checkFlatTraining(leaking, 3, { ...TINY.config, maxPositions: 24 })).toMatchObject({ flat: false })
  backend.dispose()
})
