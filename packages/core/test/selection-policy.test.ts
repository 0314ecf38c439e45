import { describe, expect, test } from 'vitest'
import {
  attentionSpec,
  densePolicy,
  InvalidConfigError,
  infllmV2Policy,
  isDense,
  meanPoolPolicy,
  oraclePolicy,
  PackedLayout,
  PHSA_4K,
  POLICY_NAMES,
  type PolicyInput,
  phsaAttention,
  phsaAttentionBackward,
  phsaConfig,
  phsaPolicy,
  punctuationOnlyPolicy,
  randomPolicy,
  selectionPolicy,
  uploadLayout,
  uploadTokenWeights,
} from '../src/index.js'
import { errorOf } from './error-of.js'
import { elements, type HostBackend, hostBackend } from './host-backend.js'

const spec = attentionSpec(PHSA_4K, { heads: 4, kvHeads: 2, headDim: 4, dtype: 'f32' })

function inputs({ memory }: HostBackend): PolicyInput & { v: PolicyInput['k'] } {
  const packed = new PackedLayout([40, 8], 16)
  return {
    q: memory.alloc([48, 4, 4], 'f32'),
    k: memory.alloc([48, 2, 4], 'f32'),
    v: memory.alloc([48, 2, 4], 'f32'),
    weights: uploadTokenWeights(memory, PHSA_4K, { layers: 1, kvHeads: 2 }, new Uint8Array(48), packed).forLayer(0),
    layout: uploadLayout(memory, packed),
    spec,
  }
}

describe('selectionPolicy', () => {
  test('finds every policy by its name', () => {
    expect(POLICY_NAMES.map((name) => selectionPolicy(name).name)).toEqual([...POLICY_NAMES])
  })

  test('an unknown name is answered with those there are', () => {
    const error = errorOf(() => selectionPolicy('quest'))
    expect(error).toBeInstanceOf(InvalidConfigError)
    expect(error.message).toMatch(/quest is no selection policy; there are phsa, dense/)
  })
})

describe('configurations', () => {
  test('lambda is what tells the pooling baselines apart', () => {
    expect(phsaPolicy.configure(PHSA_4K)).toBe(PHSA_4K)
    expect(meanPoolPolicy.configure(PHSA_4K)).toEqual({ ...PHSA_4K, lambda: 1 })
    expect(punctuationOnlyPolicy.configure(PHSA_4K)).toEqual({ ...PHSA_4K, lambda: 0 })
    expect(randomPolicy().spec(spec)).toBe(spec)
  })

  test.each([16, 32, 64])('infllm-v2 with blocks of %d has sub-blocks of 16', (blockSize) => {
    const config = infllmV2Policy.configure(phsaConfig({ blockSize, initTokens: blockSize }))
    expect(config).toMatchObject({ lambda: 1, representatives: blockSize / 16, score: 'overlap' })
    expect(infllmV2Policy.spec({ ...spec, blockSize })).toMatchObject({ representatives: blockSize / 16, score: 'overlap' })
  })

  test.each([8, 24, 128])('infllm-v2 refuses blocks of %d and says which it takes', (blockSize) => {
    const config = phsaConfig({ blockSize, initTokens: 0, localTokens: blockSize })
    for (const refused of [() => infllmV2Policy.configure(config), () => infllmV2Policy.spec({ ...spec, blockSize })]) {
      const error = errorOf(refused)
      expect(error).toBeInstanceOf(InvalidConfigError)
      expect(error.message).toContain(`blockSize is ${blockSize}; infllm-v2 takes blocks of 16, 32 or 64.`)
    }
  })

  test('dense needs no change of configuration, only of the spec', () => {
    expect(densePolicy.configure(PHSA_4K)).toBe(PHSA_4K)
    expect(isDense(densePolicy.spec(spec))).toBe(true)
  })
})

describe('select', () => {
  test.each([phsaPolicy, meanPoolPolicy, punctuationOnlyPolicy, infllmV2Policy])(
    '$name pools and scores; the representatives are freed',
    (policy) => {
      const backend = hostBackend({ poolBlocks: (memory) => memory.alloc([2, 4, 4], 'f32') })
      const input = inputs(backend)
      const before = backend.memory.usage().tensors
      policy.select(backend, input)
      expect(backend.calls.map(({ kernel }) => kernel)).toEqual(['poolBlocks', 'selectBlocks'])
      expect(backend.calls[1].input.reps).toMatchObject({ shape: [2, 4, 4] })
      expect(backend.memory.usage().tensors).toBe(before + 1)
    },
  )

  test('oracle measures all rows, a thousand or so at a time, and keeps only the selection', () => {
    const asked: number[][] = []
    const backend = hostBackend({
      blockMass: (memory, { rows }) => {
        asked.push(elements(memory, rows))
        return memory.alloc([2, 1, 1], 'f32')
      },
      selectTop: () => undefined,
    })
    const packed = new PackedLayout([1500], 16)
    const layout = uploadLayout(backend.memory, packed)
    const before = backend.memory.usage().tensors
    const selected = oraclePolicy.select(backend, { ...inputs(hostBackend()), layout })
    expect(selected.shape).toEqual([2, 1500, 2])
    expect(backend.memory.usage().tensors).toBe(before + 1)
    expect(asked.length).toBeGreaterThan(1)
    expect(asked.flat()).toEqual(Array.from({ length: 1500 }, (_, row) => row))
    for (const { kernel, input } of backend.calls) if (kernel === 'selectTop') expect(input.selected).toBe(selected)
  })

  test('random draws anew at each call, the same from the same seed', () => {
    const scores = (seed: number) => {
      const calls: number[][] = []
      const backend = hostBackend({
        selectTop: (memory, { scores }) => {
          calls.push(elements(memory, scores))
        },
      })
      const policy = randomPolicy(seed)
      policy.select(backend, inputs(backend))
      policy.select(backend, inputs(backend))
      return calls
    }
    const [first, second] = scores(1)
    expect(first).toHaveLength(2 * 48 * 3)
    expect(second).not.toEqual(first)
    expect(scores(1)).toEqual([first, second])
    expect(scores(1)).not.toEqual(scores(2))
  })

  test('dense selects nothing and asks no kernel', () => {
    const backend = hostBackend()
    const selected = densePolicy.select(backend, inputs(backend))
    expect(selected).toMatchObject({ shape: [2, 48, 0], dtype: 'i32' })
    expect(backend.calls).toEqual([])
  })
})

describe('phsaAttention', () => {
  const attended = (backend: HostBackend) => ({ out: backend.memory.alloc([48, 4, 4], 'f32'), lse: backend.memory.alloc([48, 4], 'f32') })

  test('pools, selects and attends with the same spec', () => {
    const backend = hostBackend({ attend: () => attended(backend) })
    const { out, lse, selected } = phsaAttention(backend, inputs(backend))
    expect(backend.calls.map(({ kernel }) => kernel)).toEqual(['poolBlocks', 'selectBlocks', 'attend'])
    expect(backend.calls[2].input).toMatchObject({ selected, spec })
    expect([out.shape, lse.shape]).toEqual([
      [48, 4, 4],
      [48, 4],
    ])
  })

  test('forward and backward run with the spec of the policy', () => {
    const backend = hostBackend({ attend: () => attended(backend), attendBackward: () => 'gradients' })
    const input = inputs(backend)
    const output = phsaAttention(backend, input, densePolicy)
    const dOut = backend.memory.alloc([48, 4, 4], 'f32')
    expect(phsaAttentionBackward(backend, dOut, input, output, densePolicy)).toBe('gradients')
    const [forward, backward] = backend.calls
    expect(isDense(forward.input.spec as never)).toBe(true)
    expect(backward.input.spec).toEqual(forward.input.spec)
    expect(backward.input).toMatchObject({ dOut, selected: output.selected })
  })

  test('the default policy of the backward pass is PHSA as well', () => {
    const backend = hostBackend({ attend: () => attended(backend) })
    const input = inputs(backend)
    phsaAttentionBackward(backend, input.q, input, phsaAttention(backend, input))
    expect(backend.calls.at(-1)).toMatchObject({ kernel: 'attendBackward', input: { spec } })
  })
})

test('what scores by given scores never uploads those of more than 1024 query rows at once', () => {
  const backend = hostBackend()
  const { memory } = backend
  const packed = new PackedLayout([2100], 16)
  const layout = uploadLayout(memory, packed)
  randomPolicy(3).select(backend, { ...inputs(backend), layout })
  const shapes = backend.calls.map(({ input }) => (input.scores as PolicyInput['q']).shape)
  expect(shapes).toEqual([
    [2, 1024, 132],
    [2, 1024, 132],
    [2, 52, 132],
  ])
})

test('a failing attend leaves no selection behind', () => {
  const backend = hostBackend({
    attend: () => {
      throw new RangeError('no such kernel')
    },
  })
  const input = inputs(backend)
  const before = backend.memory.usage()
  expect(() => phsaAttention(backend, input)).toThrow('no such kernel')
  expect(backend.memory.usage()).toEqual(before)
})
