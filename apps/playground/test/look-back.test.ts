import {
  attentionSpec,
  type ModelBackend,
  PackedLayout,
  phsaConfig,
  RandomStream,
  reference,
  uploadLayout,
  uploadTokenWeights,
} from '@phsa/core'
import { DecoderModel } from '@phsa/model'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { METHODS } from '../src/lab-contract.js'
import { DocumentAttention } from '../src/worker/document-attention.js'
import { lookBack } from '../src/worker/look-back.js'
import { policyOf } from '../src/worker/method-policy.js'
import { recallByBudget } from '../src/worker/recall-by-budget.js'

const TOKENS = 230
const phsa = phsaConfig({ blockSize: 16, initTokens: 16, localTokens: 32, topK: 3, lambda: 0.3 })
const random = new RandomStream(7)
const ids = Int32Array.from({ length: TOKENS }, () => random.below(50))
const punctuation = Uint8Array.from(ids, (id) => (id < 8 ? 1 : 0))
let backend: ModelBackend
let model: DecoderModel
let document: DocumentAttention
const layersDone: number[] = []

beforeAll(async () => {
  backend = await reference()
  const config = {
    vocabSize: 50,
    hiddenSize: 12,
    intermediateSize: 16,
    layers: 2,
    heads: 4,
    kvHeads: 2,
    headDim: 8,
    rmsNormEpsilon: 1e-6,
    ropeTheta: 10_000,
    maxPositions: 256,
    tieWordEmbeddings: true,
    eosTokenIds: [],
  }
  model = DecoderModel.create({ config, backend, phsa, seed: 2 })
  document = await DocumentAttention.compute(model, ids, punctuation, (done) => layersDone.push(done))
})
afterAll(() => {
  document.dispose()
  model.dispose()
  backend.dispose()
})

test('one query chooses what it chooses among all queries of the document, under every method', async () => {
  expect(layersDone).toEqual([1, 2])
  const { memory } = backend
  const { q, k } = document.layers[1]
  const packed = new PackedLayout([TOKENS], phsa.blockSize)
  const layout = uploadLayout(memory, packed)
  const before = memory.usage().tensors
  for (const query of [0, 63, 150, 200, TOKENS - 1]) {
    const heads = await lookBack({ model, document, phsa, query, layer: 1 })
    expect(heads).toHaveLength(2)
    for (const method of METHODS) {
      const policy = policyOf(method)
      const spec = policy.spec(attentionSpec(phsa, { ...model.config, dtype: 'f32' }))
      const selected = memory.scope(() => {
        const weights = uploadTokenWeights(memory, policy.configure(phsa), model.config, punctuation, packed).forLayer(1)
        return policy.select(backend, { q, k, weights, layout, spec })
      })
      const all = await memory.download(selected)
      selected.dispose()
      for (const [head, { choices }] of heads.entries()) {
        const start = (head * TOKENS + query) * phsa.topK
        expect(choices[method].blocks, `${method}, query ${query}`).toEqual(
          [...all.subarray(start, start + phsa.topK)].filter((block) => block >= 0),
        )
        expect(choices[method].recall).toBeLessThanOrEqual(choices.oracle.recall + 1e-9)
      }
    }
    for (const { mass } of heads) expect(mass.reduce((sum, share) => sum + share, 0)).toBeCloseTo(1, 5)
  }
  expect(memory.usage().tensors).toBe(before)
})

test('recall grows with the budget, is the best for true attention, and leaves nothing behind', async () => {
  const before = backend.memory.usage().tensors
  const points = await recallByBudget(model, document, phsa, 0)
  expect(backend.memory.usage().tensors).toBe(before)
  const curve = (method: string) => points.filter((point) => point.method === method).map(({ recall }) => recall)
  const best = curve('oracle')
  expect(best.length).toBeGreaterThan(3)
  expect([...best].sort((left, right) => left - right)).toEqual(best)
  for (const method of METHODS) expect(curve(method).every((recall, at) => recall <= best[at] + 1e-9)).toBe(true)
})
