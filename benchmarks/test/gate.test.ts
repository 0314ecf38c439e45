import {
  type AttentionSpec,
  attentionCost,
  attentionSpec,
  exactCounts,
  PackedLayout,
  phsaConfig,
  ReferenceBackend,
  uploadLayout,
} from '@phsa/core'
import { expect, test } from 'vitest'
import { AttentionDataSource } from '../attention/attention-data.js'
import { exactRepresentatives, type HostProblem } from '../attention/exact-rows.js'
import { type Computed, checkChoice, checkRows } from '../attention/gate.js'
import { phaseWork } from '../attention/phase-work.js'
import { sampledRows } from '../attention/sampled-rows.js'

const LENGTH = 150
const config = phsaConfig({ blockSize: 8, initTokens: 8, localTokens: 16, topK: 2 })
const spec = attentionSpec(config, { heads: 4, kvHeads: 2, headDim: 32, dtype: 'bf16' })

function hostProblem(): HostProblem {
  const data = new AttentionDataSource(2 ** 14).make({ ...spec, length: LENGTH }, 'A', 1)
  const dOut = new AttentionDataSource(2 ** 14).make({ ...spec, length: LENGTH }, 'B', 5).q
  return { ...data, dOut, weights: new Float32Array(LENGTH).fill(1 / spec.blockSize), length: LENGTH }
}

/** By the reference backend, which is written apart from the gate. */
async function computed({ q, k, v, dOut, weights }: HostProblem, of: AttentionSpec): Promise<Computed> {
  const backend = new ReferenceBackend()
  const { attention, memory } = backend
  const exact = { ...of, dtype: 'f64' as const }
  const rows = (values: Float32Array, heads: number) => memory.upload(Float64Array.from(values), [LENGTH, heads, of.headDim])
  const layout = uploadLayout(memory, new PackedLayout([LENGTH], of.blockSize))
  const tensors = { q: rows(q, of.heads), k: rows(k, of.kvHeads), v: rows(v, of.kvHeads), layout, spec: exact }
  const fused = { kind: 'fused' as const, weights: memory.upload(weights, [LENGTH]) }
  const reps = attention.poolBlocks({ ...tensors, weights: fused })
  const selected = attention.selectBlocks({ ...tensors, reps })
  const { out, lse } = attention.attend({ ...tensors, selected })
  const { dq } = attention.attendBackward({ ...tensors, selected, out, lse, dOut: rows(dOut, of.heads) })
  const values = {
    selected: await memory.download(selected),
    out: await memory.download(out),
    lse: await memory.download(lse),
    dq: await memory.download(dq),
  }
  backend.dispose()
  return values
}

test.each(['softmax', 'logit'] as const)('what the reference computes passes, score %s', async (score) => {
  const problem = hostProblem()
  const checks = checkRows(
    problem,
    exactRepresentatives(problem, spec),
    { ...spec, score },
    await computed(problem, { ...spec, score }),
    40,
  )
  expect(checks.map(({ name }) => name)).toEqual(['selected form', 'selected score', 'lse', 'out', 'out rows', 'dq'])
  // Both are float64: far inside of the bounds for bf16.
  for (const { measured } of checks) expect(measured).toBeLessThan(1e-6)
})

test.each([
  ['selected form', ({ selected }: Computed) => ({ selected: selected.map(() => 1) })],
  ['out', ({ out }: Computed) => ({ out: out?.map((value) => value * 1.05) })],
  ['lse', ({ lse }: Computed) => ({ lse: lse.map((value) => value + 0.3) })],
  ['dq', ({ dq }: Computed) => ({ dq: dq?.map((value) => value * 1.05) })],
])('a wrong %s is found', async (name, damage) => {
  const problem = hostProblem()
  const right = await computed(problem, spec)
  const failed = checkRows(problem, exactRepresentatives(problem, spec), spec, { ...right, ...damage(right) }, 40).filter(({ ok }) => !ok)
  expect(failed.map((check) => check.name)).toContain(name)
})

test('a choice is judged by how far it falls short, not by which of two near blocks it took', () => {
  const scores = Float64Array.of(9, 1, 4, 3.96, -2, 9)
  const range = { start: 1, end: 5 }
  expect(checkChoice(scores, [2, 3], range)).toEqual({ shortfall: 0 })
  expect(checkChoice(scores, [1, 2], range).shortfall).toBeCloseTo((3.96 - 1) / 4)
  expect(checkChoice(scores, [3, 2], range).fault).toContain('ascending')
  expect(checkChoice(scores, [2, 5], range).fault).toBeDefined()
  expect(checkChoice(scores, [2, -1], range).fault).toBeDefined()
  expect(checkChoice(scores, [-1, -1], { start: 1, end: 1 })).toEqual({ shortfall: 0 })
})

test('sampled rows hold the first and the last ones and stay in range', () => {
  const rows = sampledRows(spec, LENGTH, 5)
  expect(rows).toContain(0)
  expect(rows).toContain(LENGTH - 1)
  expect(rows.every((row) => row >= 0 && row < LENGTH)).toBe(true)
  expect(sampledRows(spec, 1, 5)).toEqual([0])
})

test.each([0, 4])('work of the phases adds up to what core counts, topK %i', (topK) => {
  const of = { ...spec, topK }
  const cost = attentionCost(of, exactCounts(of, [1000]))
  const { pool, select, attend, forward } = phaseWork(of, 1000)
  expect(select.flops + attend.flops).toBe(cost.totalFlops)
  expect(pool.bytes + select.bytes + attend.bytes).toBe(cost.totalBytes)
  expect(forward).toEqual({ flops: cost.totalFlops, bytes: cost.totalBytes })
})
