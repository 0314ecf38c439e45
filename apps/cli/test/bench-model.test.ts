import { type ModelBackend, ReferenceBackend } from '@phsa/core'
import { TextDataset } from '@phsa/trainer'
import { describe, expect, test } from 'vitest'
import type { BenchCase, BenchContext } from '../src/bench/bench-case.js'
import { generateCase } from '../src/bench/generate-case.js'
import { withAttention } from '../src/bench/replaced-attention.js'
import { stepCase } from '../src/bench/step-case.js'
import { Interruption } from '../src/interruption.js'
import { TINY_MODEL } from './tiny-model.js'

const limits = { warmUp: 1, least: 3, most: 3, budget: 0, patience: 10 }
const load = async () => ({ data: new TextDataset([Int32Array.from({ length: 400 }, (_, index) => (index * index) % 31)], 31) })
const steps = (['dense', 'sparse'] as const).map((sparsity) => stepCase(TINY_MODEL, sparsity, load))
const generations = (['dense', 'sparse'] as const).map((sparsity) => generateCase(TINY_MODEL, sparsity, { promptTokens: 40, newTokens: 4 }))

async function withContext<T>(backend: ModelBackend, run: (context: BenchContext) => Promise<T>): Promise<T> {
  const interruption = new Interruption()
  try {
    return await run({ backend, reference: new ReferenceBackend(), limits, interruption })
  } finally {
    interruption.dispose()
  }
}

const failuresOf = (benchCase: BenchCase, backend: ModelBackend) =>
  withContext(backend, async (context) => (await benchCase.gate(context)).filter(({ ok }) => !ok).map(({ name }) => name))

describe('a right backend', () => {
  test.each([...steps, ...generations].map((benchCase) => [benchCase.name, benchCase] as const))(
    'passes the gate of %s and leaves nothing behind',
    async (_, benchCase) => {
      const backend = new ReferenceBackend()
      expect(await failuresOf(benchCase, backend)).toEqual([])
      const measurements = await withContext(backend, benchCase.measure)
      for (const { timing } of measurements) expect(timing.samples).toHaveLength(3)
      expect(backend.memory.usage().tensors).toBe(0)
    },
  )

  test('has its share of attention timed within steps, apart from those that count', async () => {
    const [{ tokens, attentionShare }] = await withContext(new ReferenceBackend(), steps[1].measure)
    expect(tokens).toBe(48)
    expect(attentionShare).toMatchObject({ method: 'timed-calls', steps: 5 })
    expect(attentionShare?.share).toBeGreaterThan(0)
    expect(attentionShare?.share).toBeLessThan(1)
  })

  test('that only queues its work has the share found from steps without attention', async () => {
    const right = new ReferenceBackend()
    const queueing = { ...withAttention(right, right.attention), limits: { ...right.limits, blocking: false } }
    const [{ attentionShare }] = await withContext(queueing, steps[0].measure)
    expect(attentionShare?.method).toBe('difference')
    expect(attentionShare?.share).toBeGreaterThanOrEqual(0)
    expect(attentionShare?.share).toBeLessThan(1)
  })
})

describe('a wrong backend is found before anything is timed', () => {
  test('a step with a gradient that is too large', async () => {
    const right = new ReferenceBackend()
    const ops: ModelBackend['ops'] = {
      ...right.ops,
      swigluBackward: (dy, gate, up) => {
        const { dGate, dUp } = right.ops.swigluBackward(dy, gate, up)
        return { dGate: right.ops.add(dGate, dGate), dUp }
      },
    }
    const failures = await failuresOf(steps[0], { ...withAttention(right, right.attention), ops })
    expect(failures).toContain('model.layers.0.mlp.gate_proj.weight')
    expect(failures).not.toContain('loss')
  })

  test('an optimizer that does nothing', async () => {
    const right = new ReferenceBackend()
    const ops = { ...right.ops, adamw: () => undefined }
    expect(await failuresOf(steps[0], { ...withAttention(right, right.attention), ops })).toEqual(['f32/ops/adamw'])
  })

  test('a generation that forgets what it has read', async () => {
    const right = new ReferenceBackend()
    const paged: ModelBackend['paged'] = {
      createCache: (options) => right.paged.createCache(options),
      append: (cache, k, v, marks, batch) => right.paged.append(cache, k, right.memory.alloc(v.shape, v.dtype), marks, batch),
      selectBlocks: (cache, q, batch) => right.paged.selectBlocks(cache, q, batch),
      attend: (cache, q, selected, batch) => right.paged.attend(cache, q, selected, batch),
    }
    expect(await failuresOf(generations[1], { ...withAttention(right, right.attention), paged })).toHaveLength(5)
  })
})
