import { densePolicy, type LayerWeights, PackedLayout, type RecallMeasurement, type SelectionPolicy, uploadTokenWeights } from '@phsa/core'
import type { DecoderModel, TokenBatch } from '@phsa/model'
import { layerRecalls } from './layer-recall.js'
import type { PolicyVariant } from './policy-variant.js'
import { type RowSample, sampleRows } from './sample-rows.js'

/** One batch, the variants to measure on it, and how queries are sampled. */
export interface BatchRecallInput extends RowSample {
  readonly model: DecoderModel
  readonly batch: TokenBatch
  readonly variants: readonly PolicyVariant[]
}

/** Recalls of one batch: for each layer a measurement of each variant; no layers where the batch has no position to measure. */
export interface BatchRecalls {
  readonly layers: readonly (readonly RecallMeasurement[])[]
  /** Query rows measured. */
  readonly queries: number
}

/** Recall of each variant on one batch (spec 9), on the q and k of one dense forward, a layer at a time. */
export async function batchRecalls(input: BatchRecallInput): Promise<BatchRecalls> {
  const { model, batch, variants, past } = input
  const { backend, config } = model
  const packed = new PackedLayout(batch.lengths, variants[0].phsa.blockSize)
  const rows = sampleRows(packed.positions(), input)
  if (rows.length === 0) return { layers: [], queries: 0 }
  const weights = new Map<SelectionPolicy, LayerWeights>()
  try {
    for (const { policy, phsa } of variants) {
      if (!weights.has(policy))
        weights.set(policy, uploadTokenWeights(backend.memory, policy.configure(phsa), config, batch.punctuation, packed))
    }
    const measured: RecallMeasurement[][] = []
    for (const { q, k, layout } of model.attentionLayers(batch, { policy: densePolicy, phsa: variants[0].phsa })) {
      const sample = { layer: measured.length, q, k, packed, layout, heads: config, rows, past }
      measured.push(await layerRecalls(backend, sample, variants, (policy) => weights.get(policy)!))
    }
    return { layers: measured, queries: rows.length }
  } finally {
    for (const made of weights.values()) made.dispose()
  }
}
