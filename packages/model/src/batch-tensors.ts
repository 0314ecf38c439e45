import { type LayerWeights, type Layout, PackedLayout, type RopeTable, type Tensor, uploadLayout, uploadTokenWeights } from '@phsa/core'
import type { LayerPlan } from './attention-choice.js'
import type { DecoderConfig } from './decoder-config.js'
import type { Uploads } from './rewritten-tensors.js'
import type { TokenBatch } from './token-batch.js'

/** A batch on its device: everything that the layers of one pass share. Belongs to the scope it was made in. */
export interface BatchTensors {
  /** i32 [T] */
  readonly ids: Tensor
  /** i32 [T], restarting at each sequence. */
  readonly positions: Tensor
  readonly layout: Layout
  readonly weights: LayerWeights
  readonly rope: RopeTable
}

/** @param ropeFor gives a rotary table for that many positions */
export function uploadBatch(
  memory: Uploads,
  batch: TokenBatch,
  plan: LayerPlan,
  config: DecoderConfig,
  ropeFor: (positions: number) => RopeTable,
): BatchTensors {
  const packed = new PackedLayout(batch.lengths, plan.spec.blockSize)
  const tokens = [batch.ids.length]
  return {
    ids: memory.upload(batch.ids, tokens),
    positions: memory.upload(packed.positions(), tokens),
    layout: uploadLayout(memory, packed),
    weights: uploadTokenWeights(memory, plan.phsa, { layers: config.layers, kvHeads: config.kvHeads }, batch.punctuation, packed),
    rope: ropeFor(Math.max(...batch.lengths)),
  }
}
