import { describe, expect, test } from 'vitest'
import {
  attentionMassRecall,
  attentionSpec,
  measureRecall,
  PackedLayout,
  type PhsaConfig,
  POLICY_NAMES,
  phsaAttention,
  phsaConfig,
  RandomStream,
  reference,
  sampleDistillationRows,
  selectionPolicy,
  topBlocks,
  uploadLayout,
  uploadTokenWeights,
} from '../src/index.js'

const heads = { heads: 4, kvHeads: 2, headDim: 8, dtype: 'f32' } as const
const config = phsaConfig({ blockSize: 16, initTokens: 16, localTokens: 16, topK: 2 })
const packed = new PackedLayout([150, 91, 3], 16)

/** The inputs of one attention of a policy, from random q, k and v and a punctuation token in seven. */
async function setUp(name: string, base: PhsaConfig = config) {
  const backend = await reference()
  const { memory } = backend
  const random = new RandomStream(11)
  const draw = (rows: number) =>
    memory.upload(
      Float32Array.from({ length: 244 * rows * 8 }, () => 2 * random.normal()),
      [244, rows, 8],
    )
  const policy = selectionPolicy(name)
  const used = policy.configure(base)
  const marks = Uint8Array.from({ length: 244 }, (_, token) => (token % 7 === 0 ? 1 : 0))
  const weights = uploadTokenWeights(memory, used, { layers: 1, kvHeads: 2 }, marks, packed).forLayer(0)
  const input = { q: draw(4), k: draw(2), v: draw(2), weights, layout: uploadLayout(memory, packed), spec: attentionSpec(used, heads) }
  return { backend, policy, input }
}

async function recallOf(name: string) {
  const { backend, policy, input } = await setUp(name)
  const spec = policy.spec(input.spec)
  const selected = policy.select(backend, { ...input, spec })
  const rows = sampleDistillationRows(packed, 40, new RandomStream(2))
  const [measured] = await measureRecall(backend, { ...input, packed, rows, past: 64 }, [{ selected, spec }])
  backend.dispose()
  return measured
}

describe('policies on the reference backend', () => {
  test.each(POLICY_NAMES)('%s equals dense attention where A covers the longest sequence', async (name) => {
    const covering = { ...config, initTokens: 32, localTokens: 96, topK: 6 }
    const { backend, policy, input } = await setUp(name, covering)
    const out = await backend.memory.download(phsaAttention(backend, input, policy).out)
    const expected = await backend.memory.download(phsaAttention(backend, input, selectionPolicy('dense')).out)
    for (const [index, value] of out.entries()) expect(value).toBeCloseTo(expected[index], 5)
  })

  test('dense recalls all of the mass, the oracle most of the rest, all of them between 0 and 1', async () => {
    const recalls = new Map<string, number>()
    for (const name of POLICY_NAMES) recalls.set(name, (await recallOf(name)).recall)
    expect(recalls.get('dense')).toBeCloseTo(1, 5)
    const oracle = recalls.get('oracle') ?? 0
    for (const name of ['phsa', 'mean-pool', 'punctuation-only', 'infllm-v2', 'random']) {
      expect(recalls.get(name)).toBeGreaterThan(0)
      expect(recalls.get(name)).toBeLessThanOrEqual(oracle)
    }
    // Queries and keys are random here: whoever scores by content still beats chance.
    expect(recalls.get('phsa')).toBeGreaterThan(recalls.get('random') ?? 1)
  })

  test('selection recall: the oracle finds its own blocks, chance few of them', async () => {
    expect((await recallOf('oracle')).selectionRecall).toBe(1)
    expect((await recallOf('random')).selectionRecall).toBeLessThan(0.8)
    expect((await recallOf('dense')).selectionRecall).toBeUndefined()
  })

  test('the host’s choice of blocks is the backend’s', async () => {
    const { backend, input } = await setUp('oracle')
    const { attention, memory } = backend
    const { spec, layout } = input
    const positions = packed.positions()
    const rows = memory.upload(
      positions.map((_, row) => row),
      [positions.length],
    )
    const mass = attention.blockMass({ q: input.q, k: input.k, rows, layout, spec })
    const scores = { values: await memory.download(mass), maxBlocks: layout.maxBlocks, positions }
    const chosen = topBlocks(scores, spec)
    const selected = memory.alloc([2, positions.length, spec.topK], 'i32')
    attention.selectTop({ scores: mass, rows, selected, layout, spec })
    expect(chosen).toEqual(await memory.download(selected))
    expect(attentionMassRecall(scores, chosen, spec).queries).toBe(150 - 64 + 91 - 64)
  })
})
