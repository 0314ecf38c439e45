import {
  type AttentionBackend,
  BackendUnavailableError,
  type ModelBackend,
  OutOfMemoryError,
  ReferenceBackend,
  type Tensor,
  UnsupportedError,
} from '@phsa/core'
import { expect, test } from 'vitest'
import { attentionBench } from '../src/bench/attention-case.js'
import { benchBackends } from '../src/bench/bench-backends.js'
import type { BenchCase } from '../src/bench/bench-case.js'
import type { BenchResult } from '../src/bench/bench-report.js'
import { hasFailures } from '../src/bench/bench-report.js'
import { matmulCase } from '../src/bench/matmul-case.js'
import { withAttention } from '../src/bench/replaced-attention.js'
import { Interruption } from '../src/interruption.js'

const ATTENTION = { heads: 2, kvHeads: 1, headDim: 8, length: 300 }
const limits = { warmUp: 1, least: 2, most: 2, budget: 0, patience: 10 }

async function bench(create: () => Promise<AttentionBackend>, cases: readonly BenchCase[]) {
  const interruption = new Interruption()
  try {
    return await benchBackends([{ name: 'tested', create }], { cases, limits, interruption, onProgress: () => undefined })
  } finally {
    interruption.dispose()
  }
}

async function benchOne(create: () => Promise<ModelBackend>, benchCase: BenchCase): Promise<BenchResult> {
  const [backend] = await bench(create, [benchCase])
  if (!backend.available) throw new Error(backend.reason)
  return backend.results[0]
}

/** Changes one value of a tensor: the last one, which a look at the beginning does not see. */
function damageLast(backend: ModelBackend, tensor: Tensor): Tensor {
  const { memory, ops } = backend
  const count = tensor.shape.reduce((product, extent) => product * extent, 1)
  const damage = new Float32Array(count)
  damage[count - 1] = 1
  return ops.add(tensor, memory.upload(damage, tensor.shape))
}

test('a right product is timed after its check', async () => {
  const result = await benchOne(async () => new ReferenceBackend(), matmulCase(24))
  expect(result).toMatchObject({ outcome: 'measured', gate: { checks: 2, failed: [] } })
  expect(result.measurements).toHaveLength(1)
  const [{ timing, flops }] = result.measurements
  expect(flops).toBe(2 * 24 ** 3)
  expect(timing.samples).toHaveLength(2)
  expect(timing.least).toBeLessThanOrEqual(timing.median)
})

test('a product with one wrong element gets no figure', async () => {
  const create = async () => {
    const right = new ReferenceBackend()
    return {
      ...withAttention(right, right.attention),
      ops: { ...right.ops, linear: (x, weight) => damageLast(right, right.ops.linear(x, weight)) } satisfies ModelBackend['ops'],
    }
  }
  const result = await benchOne(create, matmulCase(24))
  expect(result).toMatchObject({ outcome: 'wrong', measurements: [] })
  expect(result.gate?.failed).toHaveLength(2)
})

test.each([[2], ['dense']] as const)('right attention (topK %s) is timed forward and backward', async (topK) => {
  const result = await benchOne(async () => new ReferenceBackend(), attentionBench(ATTENTION, topK))
  expect(result.gate?.failed).toEqual([])
  expect(result.measurements.map(({ name }) => name)).toEqual(['forward', 'backward'])
  expect(result.measurements[0].flops).toBeGreaterThan(0)
})

test.each([
  [
    'selects the wrong blocks',
    'selected form',
    (right: ReferenceBackend) => ({
      selectBlocks: (input) => right.memory.alloc([input.spec.kvHeads, input.layout.queryTokens, input.spec.topK], 'i32'),
    }),
  ],
  [
    'loses the end of the last query',
    'out',
    (right) => ({ attend: (input) => ({ ...right.attention.attend(input), out: damageLast(right, right.attention.attend(input).out) }) }),
  ],
  [
    'loses the gradient of the last key',
    'dk',
    (right) => ({
      attendBackward: (input) => ({
        ...right.attention.attendBackward(input),
        dk: damageLast(right, right.attention.attendBackward(input).dk),
      }),
    }),
  ],
] as readonly (readonly [string, string, (right: ReferenceBackend) => Partial<ModelBackend['attention']>])[])(
  'attention that %s gets no figure',
  async (_, check, broken) => {
    const create = async () => {
      const right = new ReferenceBackend()
      return withAttention(right, { ...right.attention, ...broken(right) })
    }
    const result = await benchOne(create, attentionBench(ATTENTION, 2))
    expect(result).toMatchObject({ outcome: 'wrong', measurements: [] })
    expect(result.gate?.failed.map(({ name }) => name).join()).toContain(check)
    expect(hasFailures({ backends: [{ name: 'tested', available: true, device: 'here', results: [result] }] })).toBe(true)
  },
)

test('attention that is wrong only in a long sequence gets no figure', async () => {
  const create = async () => {
    const right = new ReferenceBackend()
    const attend: ModelBackend['attention']['attend'] = (input) => {
      const made = right.attention.attend(input)
      return input.layout.keyTokens === 300 ? { ...made, out: damageLast(right, made.out) } : made
    }
    return withAttention(right, { ...right.attention, attend })
  }
  const result = await benchOne(create, attentionBench(ATTENTION, 2))
  expect(result.outcome).toBe('wrong')
  expect(result.gate?.failed.every(({ name }) => name.includes('of 300 queries'))).toBe(true)
})

test('a backend of attention only is timed where that is enough and refused elsewhere, with the reason', async () => {
  const attentionOnly = async (): Promise<AttentionBackend> => {
    const whole = new ReferenceBackend()
    const { ops: _, ...rest } = withAttention(whole, whole.attention)
    return rest
  }
  const [backend] = await bench(attentionOnly, [attentionBench({ ...ATTENTION, length: 120 }, 1), matmulCase(8)])
  expect(backend).toMatchObject({
    results: [{ outcome: 'measured' }, { outcome: 'refused', reason: 'tested computes attention only, no matmul yet' }],
  })
})

test('a backend that is not there is listed with its reason', async () => {
  const unavailable = async () => {
    throw new BackendUnavailableError('there is no such device')
  }
  expect(await bench(unavailable, [matmulCase(8)])).toEqual([{ name: 'tested', available: false, reason: 'there is no such device' }])
})

test.each([
  ['refused', new UnsupportedError('head-dim', 'no such head')],
  ['failed', new OutOfMemoryError('no room')],
])('a case is %s with its reason and the next one runs', async (outcome, error) => {
  const stopping: BenchCase = { ...matmulCase(8), gate: () => Promise.reject(error) }
  const [backend] = await bench(async () => new ReferenceBackend(), [stopping, matmulCase(8)])
  expect(backend).toMatchObject({ results: [{ outcome, reason: error.message, measurements: [] }, { outcome: 'measured' }] })
})

test('an unexpected error is not swallowed', async () => {
  const broken: BenchCase = { ...matmulCase(8), measure: () => Promise.reject(new TypeError('a bug')) }
  await expect(bench(async () => new ReferenceBackend(), [broken])).rejects.toThrow('a bug')
})
