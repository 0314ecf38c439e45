import {
  densePolicy,
  disposeLayout,
  type LayerWeights,
  PackedLayout,
  RandomStream,
  type SelectionPolicy,
  type TokenWeights,
  uploadTokenWeights,
} from '@phsa/core'
import type { DecoderModel, TrainingBatch } from '@phsa/model'
import { layerRecalls, type PolicyVariant } from './layer-recall.js'

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

/**
 * Recall of each variant on one batch: mean over the sampled rows and the layers, on the q and k of one dense forward.
 * @returns recalls of 0 and no queries where the batch has no position to measure
 */
export async function batchRecalls(input: BatchRecallInput): Promise<{ recalls: number[]; queries: number }> {
  const { model, batch, variants } = input
  const { backend, config } = model
  const packed = new PackedLayout(batch.lengths, variants[0].phsa.blockSize)
  const allPositions = packed.positions()
  const rows = sampleRows(allPositions, input)
  const recalls = variants.map(() => 0)
  if (rows.length === 0) return { recalls, queries: 0 }
  const positions = rows.map((row) => allPositions[row])
  const layers = backend.memory.scope(() => model.attentionInputs(batch, { policy: densePolicy, phsa: variants[0].phsa }))
  const weights = new Map<SelectionPolicy, LayerWeights>()
  try {
    for (const { policy, phsa } of variants) {
      if (!weights.has(policy))
        weights.set(policy, uploadTokenWeights(backend.memory, policy.configure(phsa), config, batch.punctuation, packed))
    }
    for (const [layer, { q, k, layout }] of layers.entries()) {
      const found = await layerRecalls(
        { backend, layer, q, k, layout, heads: config, rows, positions },
        variants,
        (policy) => weights.get(policy)!,
      )
      for (const [index, recall] of found.entries()) recalls[index] += recall / layers.length
    }
    return { recalls, queries: rows.length }
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
