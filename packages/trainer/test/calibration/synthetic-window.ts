import { attentionSpec, type ModelBackend, PackedLayout, phsaConfig, RandomStream, uploadLayout } from '@phsa/core'
import { uploadBranches } from '../../src/calibration/branch-scores.js'
import type { CalibrationPlan } from '../../src/calibration/calibration-options.js'
import { measureLayer, type WindowMeasurement } from '../../src/calibration/measure-layer.js'
import { sampleRows } from '../../src/evaluation/sample-rows.js'

export const syntheticPhsa = phsaConfig({ blockSize: 8, initTokens: 8, localTokens: 16, topK: 2 })
const HEADS = { heads: 4, kvHeads: 2, headDim: 16 }
const TOKENS = 240

/** All settings of one layer of two KV heads, whose lambda is the wrong one for every head. */
export const syntheticPlan = (decisive: readonly boolean[]): CalibrationPlan => ({
  phsa: syntheticPhsa,
  settings: [
    { representatives: 1, score: 'softmax' },
    { representatives: 2, score: 'logit' },
  ],
  lambdas: [0, 0.25, 0.5, 0.75, 1],
  before: [decisive.map((isMark) => (isMark ? 1 : 0))],
  past: 40,
  rows: 24,
  seed: 0,
})

/**
 * Measures one made-up layer whose queries attend to one far key: a punctuation token where `decisive` says so for the KV head, else another token of a block
 * whose punctuation says nothing. Every other key is noise.
 */
export async function syntheticWindow(backend: ModelBackend, decisive: readonly boolean[], seed: number): Promise<WindowMeasurement> {
  const { heads, kvHeads, headDim } = HEADS
  const random = new RandomStream(seed)
  const marks = Uint8Array.from({ length: TOKENS }, (_, token) => (token % 8 === 3 ? 1 : 0))
  const k = Float32Array.from({ length: TOKENS * kvHeads * headDim }, () => random.normal())
  const q = new Float32Array(TOKENS * heads * headDim)
  for (let token = 0; token < TOKENS; token++) {
    for (let head = 0; head < heads; head++) {
      const kvHead = Math.floor(head / (heads / kvHeads))
      const block = 1 + random.below(Math.max(1, Math.floor(token / 8) - 3))
      const target = block * 8 + (decisive[kvHead] ? 3 : 5)
      for (let place = 0; place < headDim; place++) {
        q[(token * heads + head) * headDim + place] = 1.5 * k[(target * kvHeads + kvHead) * headDim + place]
      }
    }
  }
  const packed = new PackedLayout([TOKENS], syntheticPhsa.blockSize)
  const plan = syntheticPlan(decisive)
  const rows = sampleRows(packed.positions(), plan)
  const { memory } = backend
  const spec = attentionSpec(syntheticPhsa, { ...HEADS, dtype: 'f32' })
  const sample = {
    q: memory.upload(q, [TOKENS, heads, headDim]),
    k: memory.upload(k, [TOKENS, kvHeads, headDim]),
    layout: uploadLayout(memory, packed),
    packed,
    rows,
    spec,
  }
  const branches = [1, 2].map((count) => uploadBranches(backend, marks, packed, count))
  return { queries: rows.length, layers: [await measureLayer(backend, { ...sample, layer: 0, marks, branches }, plan)] }
}
