import {
  attentionSpec,
  measureRecall,
  PackedLayout,
  phsaConfig,
  phsaPolicy,
  RandomStream,
  reference,
  uploadLayout,
  uploadTokenWeights,
} from '@phsa/core'
import { expect, test } from 'vitest'
import { branchRepresentatives, branchScores, keyScores, uploadBranches } from '../../src/calibration/branch-scores.js'
import { farPunctuation } from '../../src/calibration/far-punctuation.js'
import { lambdaRecall, oracleRecall } from '../../src/calibration/lambda-recall.js'
import { sampledQueries } from '../../src/calibration/sampled-query.js'

const HEADS = { heads: 4, kvHeads: 2, headDim: 8 }
const LENGTHS = [150, 91]

async function setUp(score: 'softmax' | 'logit', representatives: number) {
  const phsa = phsaConfig({ blockSize: 8, initTokens: 8, localTokens: 16, topK: 2, score, representatives })
  const backend = await reference()
  const { memory } = backend
  const random = new RandomStream(5)
  const packed = new PackedLayout(LENGTHS, 8)
  const tensor = (heads: number) => {
    const shape = [packed.totalTokens, heads, HEADS.headDim]
    return memory.upload(
      Float32Array.from({ length: shape[0] * shape[1] * shape[2] }, () => 1.5 * random.normal()),
      shape,
    )
  }
  const [q, k] = [tensor(HEADS.heads), tensor(HEADS.kvHeads)]
  const marks = Uint8Array.from({ length: packed.totalTokens }, () => (random.uniform() < 0.15 ? 1 : 0))
  const rows = Int32Array.of(45, 99, 149, 150 + 60, 150 + 90)
  const spec = attentionSpec(phsa, { ...HEADS, dtype: 'f32' })
  return { phsa, backend, marks, sample: { q, k, packed, layout: uploadLayout(memory, packed), rows, spec } }
}

test.each([
  ['softmax', 1],
  ['softmax', 2],
  ['logit', 1],
  ['logit', 4],
] as const)(
  'recall by %s with %d representatives is that of the blocks the backend chooses with this lambda',
  async (score, representatives) => {
    const { phsa, backend, marks, sample } = await setUp(score, representatives)
    const { memory, attention } = backend
    const { q, k, packed, layout, rows, spec } = sample
    const queries = sampledQueries(packed, rows)
    const branches = branchRepresentatives(backend, sample, uploadBranches(backend, marks, packed, representatives))
    const masses = await memory.download(attention.blockMass({ q, k, rows: memory.upload(rows, [rows.length]), layout, spec }))
    const headOf = (head: number) => {
      const size = rows.length * layout.maxBlocks
      return { queries, masses: masses.subarray(head * size, (head + 1) * size), maxBlocks: layout.maxBlocks, spec }
    }
    for (const lambda of [0, 0.3, 1]) {
      const weights = uploadTokenWeights(memory, { ...phsa, lambda }, { layers: 1, kvHeads: 2 }, marks, packed).forLayer(0)
      const selected = phsaPolicy.select(backend, { q, k, layout, spec, weights })
      const [measured, oracle] = await measureRecall(backend, sample, [{ selected, spec }, { spec }])
      expect(measured.recall).toBeLessThan(oracle.recall)
      for (const head of [0, 1]) {
        const scores = await branchScores(backend, sample, branches, head)
        expect(lambdaRecall(headOf(head), scores, lambda) / rows.length).toBeCloseTo(measured.byHead[head], 6)
        expect(oracleRecall(headOf(head)) / rows.length).toBeCloseTo(oracle.byHead[head], 6)
      }
    }
  },
)

test('the strongest far key is found among the candidates of the query’s own sequence', async () => {
  const { backend, sample } = await setUp('softmax', 1)
  const { packed, rows, spec, q, k } = sample
  const queries = sampledQueries(packed, rows)
  const [qs, ks] = [await backend.memory.download(q), await backend.memory.download(k)]
  const head = 1
  const scores = await keyScores(backend, sample, head)
  // By the definition: probabilities of the two query heads of the group, added up; candidates are blocks 1 to b - 2.
  const strongest = Array.from(rows, (row) => {
    const start = row < 150 ? 0 : 150
    const probabilities = [2, 3].map((queryHead) => {
      const exps = Array.from({ length: row - start + 1 }, (_, key) => {
        let sum = 0
        for (let place = 0; place < 8; place++) sum += qs[(row * 4 + queryHead) * 8 + place] * ks[((start + key) * 2 + head) * 8 + place]
        return Math.exp(sum / Math.sqrt(8))
      })
      const total = exps.reduce((sum, value) => sum + value, 0)
      return exps.map((value) => value / total)
    })
    const far = probabilities[0].map((value, key) => value + probabilities[1][key]).slice(8, (Math.floor((row - start) / 8) - 1) * 8)
    return start + 8 + far.indexOf(Math.max(...far))
  })
  const marked = (tokens: readonly number[]) =>
    Uint8Array.from({ length: packed.totalTokens }, (_, token) => (tokens.includes(token) ? 1 : 0))
  const all = farPunctuation(scores, queries, marked(strongest), spec)
  expect(all).toMatchObject({ queries: 5, strongest: 5 })
  expect(farPunctuation(scores, queries, marked(strongest.slice(0, 1)), spec).strongest).toBe(
    strongest.filter((key) => key === strongest[0]).length,
  )
  expect(farPunctuation(scores, queries, marked([]), spec)).toEqual({ queries: 5, strongest: 0, farKeys: all.farKeys, farMarks: 0 })
  // Position 45 is in block 5: blocks 1 to 3 are candidates.
  expect(farPunctuation(scores.subarray(0, 2 * packed.totalTokens), queries.slice(0, 1), marked([]), spec).farKeys).toBe(3 * 8)
})
