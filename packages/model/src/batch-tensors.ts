import {
  disposeLayout,
  type LayerWeights,
  type Layout,
  PackedLayout,
  type RopeTable,
  type Tensor,
  uploadLayout,
  uploadTokenWeights,
} from '@phsa/core'
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
    weights: uploadTokenWeights(memory, plan.phsa, config, batch.punctuation, packed, plan.lambda),
    rope: ropeFor(Math.max(...batch.lengths)),
  }
}

/** Frees a batch that was made outside of a scope, all but the model's own rotary table. */
export function disposeBatch({ ids, positions, layout, weights, rope }: BatchTensors, own: RopeTable): void {
  const table = rope === own ? [] : [rope.cos, rope.sin]
  for (const tensor of [ids, positions, ...table]) tensor.dispose()
  disposeLayout(layout)
  weights.dispose()
}
