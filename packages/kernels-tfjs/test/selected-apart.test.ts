import {
  attentionSpec,
  type ModelBackend,
  PackedLayout,
  phsaConfig,
  poolingWeights,
  RandomStream,
  reference,
  type Tensor,
  uploadLayout,
} from '@phsa/core'
import { describe, expect, test } from 'vitest'
import { planChunk } from '../src/attention/chunk-plan.js'
import { tfjs } from '../src/index.js'

const TOKENS = 1800
const WINDOW = 16
const spec = attentionSpec(phsaConfig({ blockSize: 8, initTokens: 8, localTokens: WINDOW, topK: 4 }), {
  heads: 2,
  kvHeads: 1,
  headDim: 128,
  dtype: 'f32',
})

/** Attention and its gradients over keys drawn at random: neighbouring queries select different blocks. @param scale of q: large ones make steep scores */
async function attention(backend: ModelBackend, scale: number, selected: Int32Array | undefined) {
  const { memory } = backend
  const random = new RandomStream(7)
  const rows = (heads: number, factor = 1) => {
    const values = Float32Array.from({ length: TOKENS * heads * spec.headDim }, () => random.normal() * factor)
    return memory.upload(values, [TOKENS, heads, spec.headDim])
  }
  const packed = new PackedLayout([TOKENS], spec.blockSize)
  const layout = uploadLayout(memory, packed)
  const [q, k, v, dOut] = [rows(2, scale), rows(1), rows(1), rows(2)]
  const weights = { kind: 'fused', weights: memory.upload(poolingWeights(new Uint8Array(TOKENS), packed, 1), [TOKENS]) } as const
  const choose = () => backend.attention.selectBlocks({ q, reps: backend.attention.poolBlocks({ k, weights, layout, spec }), layout, spec })
  const chosen = selected ? memory.upload(selected, [1, TOKENS, spec.topK]) : choose()
  const input = { q, k, v, selected: chosen, layout, spec }
  const forward = backend.attention.attend(input)
  const gradients = backend.attention.attendBackward({ ...input, ...forward, dOut })
  const download = async (tensor: Tensor) => (await memory.download(tensor)) as Float32Array
  const results = { selected: (await memory.download(chosen)) as Int32Array, values: new Map<string, Float32Array>() }
  for (const [name, tensor] of Object.entries({ ...forward, ...gradients })) results.values.set(name, await download(tensor))
  backend.dispose()
  return results
}

function relativeError(actual: Float32Array, expected: Float32Array): number {
  let [difference, norm] = [0, 0]
  for (let index = 0; index < expected.length; index++) {
    difference += (actual[index] - expected[index]) ** 2
    norm += expected[index] ** 2
  }
  return Math.sqrt(difference / norm)
}

describe.each([1, 40])('queries times %d', (scale) => {
  test('blocks worked apart give what the reference gives', async () => {
    const expected = await attention(await reference(), scale, undefined)
    const sequence = { queryStart: 0, queries: TOKENS, keys: TOKENS, denseBelow: 0, rowOf: (position: number) => position }
    const chosen = { blocks: expected.selected, topK: spec.topK, offset: (row: number) => row * spec.topK }
    expect(planChunk(sequence, 1300, spec, chosen, 2)).toMatchObject({ apart: true })
    const actual = await attention(await tfjs({ engine: 'wasm' }), scale, expected.selected)
    for (const [name, values] of expected.values)
      expect(relativeError(actual.values.get(name) as Float32Array, values), name).toBeLessThan(2e-5)
  })
})

test('where neighbours select alike, nothing is worked apart', () => {
  const blocks = Int32Array.from({ length: TOKENS * spec.topK }, (_, index) => 2 + (index % spec.topK))
  const sequence = { queryStart: 0, queries: TOKENS, keys: TOKENS, denseBelow: 0, rowOf: (position: number) => position }
  const chosen = { blocks, topK: spec.topK, offset: (row: number) => row * spec.topK }
  expect(planChunk(sequence, 600, spec, chosen, 2)).toMatchObject({ apart: false })
})

test('scores of a chunk stay within their bound, down to one query', () => {
  const wide = { ...spec, heads: 16, kvHeads: 1, localTokens: 2 ** 30 }
  const sequence = (keys: number) => ({ queryStart: 0, queries: 64, keys, denseBelow: 0, rowOf: (position: number) => position })
  const none = { blocks: new Int32Array(0), topK: 0, offset: () => 0 }
  expect(planChunk(sequence(131_072), 0, wide, none, 16).end).toBe(2)
  expect(planChunk(sequence(2 ** 20), 0, wide, none, 16).end).toBe(1)
})
