import {
  densePolicy,
  disposeLayout,
  type LayerWeights,
  PackedLayout,
  RandomStream,
  type RecallMeasurement,
  type SelectionPolicy,
  type TokenWeights,
  uploadTokenWeights,
} from '@phsa/core'
import type { DecoderModel, TrainingBatch } from '@phsa/model'
import { layerRecalls } from './layer-recall.js'
import type { PolicyVariant } from './policy-variant.js'

/** One batch, the variants to measure on it, and how queries are sampled. */
export interface BatchRecallInput {
  readonly model: DecoderModel
  readonly batch: TrainingBatch
  readonly variants: readonly PolicyVariant[]
  /** First position that is measured. */
  readonly past: number
  /** Query rows to sample, at most. */
  readonly rows: number
  readonly seed: number
}

/** Recalls of one batch: for each layer a measurement of each variant; no layers where the batch has no position to measure. */
export interface BatchRecalls {
  readonly layers: readonly (readonly RecallMeasurement[])[]
  /** Query rows measured. */
  readonly queries: number
}

/** Recall of each variant on one batch (spec 9), on the q and k of one dense forward. */
export async function batchRecalls(input: BatchRecallInput): Promise<BatchRecalls> {
  const { model, batch, variants, past } = input
  const { backend, config } = model
  const packed = new PackedLayout(batch.lengths, variants[0].phsa.blockSize)
  const rows = sampleRows(packed.positions(), input)
  if (rows.length === 0) return { layers: [], queries: 0 }
  const layers = backend.memory.scope(() => model.attentionInputs(batch, { policy: densePolicy, phsa: variants[0].phsa }))
  const weights = new Map<SelectionPolicy, LayerWeights>()
  try {
    for (const { policy, phsa } of variants) {
      if (!weights.has(policy))
        weights.set(policy, uploadTokenWeights(backend.memory, policy.configure(phsa), config, batch.punctuation, packed))
    }
    const measured: RecallMeasurement[][] = []
    for (const [layer, { q, k, layout }] of layers.entries()) {
      const sample = { layer, q, k, packed, layout, heads: config, rows, past }
      measured.push(await layerRecalls(backend, sample, variants, (policy) => weights.get(policy)!))
    }
    return { layers: measured, queries: rows.length }
  } finally {
    for (const made of weights.values()) made.dispose()
    for (const { q, k, v, selected, layout, weights } of layers) {
      for (const tensor of [q, k, v, selected, ...weightTensors(weights)]) tensor?.dispose()
      disposeLayout(layout)
    }
  }
}

/** Rows at positions past the border, ascending, each with the same chance. */
function sampleRows(positions: Int32Array, { past, rows, seed }: BatchRecallInput): Int32Array {
  const eligible = Array.from(positions.keys()).filter((row) => positions[row] >= past)
  const random = new RandomStream(seed)
  for (let place = 0; place < Math.min(rows, eligible.length); place++) {
    const other = place + random.below(eligible.length - place)
    const kept = eligible[place]
    eligible[place] = eligible[other]
    eligible[other] = kept
  }
  return Int32Array.from(eligible.slice(0, rows)).sort()
}

function weightTensors(weights: TokenWeights) {
  return weights.kind === 'fused' ? [weights.weights] : [weights.global, weights.punctuation, weights.lambda]
}
