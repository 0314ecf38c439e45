import { densePolicy, phsaConfig, phsaPolicy, randomPolicy } from '@phsa/core'
import { expect, test } from 'vitest'
import { peakTeraflops } from '../../src/watching/peak-flops.js'
import { TrainingFlops } from '../../src/watching/training-flops.js'

const config = {
  vocabSize: 100,
  hiddenSize: 8,
  intermediateSize: 12,
  layers: 3,
  heads: 2,
  kvHeads: 1,
  headDim: 4,
  rmsNormEpsilon: 1e-6,
  ropeTheta: 10_000,
  maxPositions: 64,
  tieWordEmbeddings: true,
  eosTokenIds: [],
}
const phsa = phsaConfig({ blockSize: 4, initTokens: 4, localTokens: 4, topK: 1 })
/** q, k, v, o, then gate, up, down of one layer. */
const LAYER_WEIGHTS = 8 * 8 + 2 * 4 * 8 + 8 * 8 + 3 * 8 * 12
const HEAD_WEIGHTS = 100 * 8
/** Both heads, of 4. */
const WIDTH = 2 * 4

test('a dense step: six a weight and token, twelve D Hq a causal pair', () => {
  const pairs = (5 * 6) / 2 + (7 * 8) / 2
  const expected = 6 * (3 * LAYER_WEIGHTS + HEAD_WEIGHTS) * 12 + 3 * 12 * WIDTH * pairs
  expect(new TrainingFlops({ config, dtype: 'f32' }).ofStep([5, 7], { policy: densePolicy, phsa })).toBe(expected)
  // The table that tokens are looked up in multiplies nothing.
  const untied = { ...config, tieWordEmbeddings: false }
  expect(new TrainingFlops({ config: untied, dtype: 'f32' }).ofStep([5, 7], { policy: densePolicy, phsa })).toBe(expected)
})

/** Keys that each of 20 positions sees, by hand: the first block, the query's own up to it, and one of those between. */
const VISIBLE = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 9, 10, 11, 12, 9, 10, 11, 12]

test('a sparse step counts the pairs that are visited, dense layers all pairs', () => {
  const flops = new TrainingFlops({ config, dtype: 'f32' })
  const products = 6 * (3 * LAYER_WEIGHTS + HEAD_WEIGHTS) * 20
  const sparse = flops.ofStep([20], { policy: phsaPolicy, phsa })
  const pairs = (sparse - products) / (3 * 12 * WIDTH)
  expect(pairs).toBe(VISIBLE.reduce((sum, count) => sum + count, 0))
  expect(flops.ofStep([20], { policy: randomPolicy(1), phsa })).toBe(sparse)
  const oneDense = flops.ofStep([20], { policy: phsaPolicy, phsa: { ...phsa, denseLayers: [1] } })
  expect(oneDense - products).toBe(((sparse - products) * 2) / 3 + 12 * WIDTH * ((20 * 21) / 2))
  // What is remembered of one topK is not taken for another.
  expect(flops.ofStep([20], { policy: phsaPolicy, phsa: { ...phsa, topK: 2 } })).toBeGreaterThan(sparse)
  expect(flops.ofStep([20], { policy: phsaPolicy, phsa })).toBe(sparse)
})

test('peaks are those of the GPU that computes, and of none that is not known', () => {
  const peakOf = (device: string) => peakTeraflops({ name: 'cuda', device: `${device}, compute capability 9.0` }, 'bf16')
  expect(peakOf('NVIDIA H100 80GB HBM3')).toBe(989.4)
  expect(peakOf('NVIDIA H100 PCIe')).toBe(756)
  expect(peakOf('NVIDIA H200 NVL')).toBe(835.5)
  expect(peakOf('NVIDIA H200')).toBe(989.4)
  expect(peakOf('NVIDIA A100-SXM4-80GB')).toBe(312)
  expect(peakOf('NVIDIA GeForce RTX 4090')).toBe(165.2)
  expect(peakOf('NVIDIA GeForce RTX 4090 D')).toBeUndefined()
  expect(peakOf('NVIDIA H100 80GB HBM3 MIG 1g.10gb')).toBeUndefined()
  expect(peakOf('NVIDIA Some GPU')).toBeUndefined()
  expect(peakTeraflops({ name: 'cuda', device: 'NVIDIA H100 80GB HBM3' }, 'f32')).toBeUndefined()
  expect(peakTeraflops({ name: 'tfjs', device: 'H100' }, 'bf16')).toBeUndefined()
})
