import type { TokenWeights } from './contract/layout.js'
import type { Memory } from './contract/memory.js'
import type { Tensor } from './contract/tensor.js'
import type { PackedLayout } from './packed-layout.js'
import { layerLambda, type PhsaConfig } from './phsa-config.js'
import { branchWeights, poolingWeights } from './pooling-weights.js'

/** Token weights on a device for every layer of a model: computed once a batch, shared by all heads, and by all layers where lambda is one number (spec 3). */
export interface LayerWeights {
  forLayer(layer: number): TokenWeights
  dispose(): void
}

/**
 * Uploads the weights of a batch.
 * @param punctuation one byte a token [T], non-zero for punctuation
 * @param learnedLambda f32 [Hkv] a layer, owned by the caller: makes the weights of kind `branches`, so that lambda can have a gradient
 */
export function uploadTokenWeights(
  memory: Pick<Memory, 'upload'>,
  config: PhsaConfig,
  heads: { layers: number; kvHeads: number },
  punctuation: Uint8Array,
  layout: PackedLayout,
  learnedLambda?: readonly Tensor[],
): LayerWeights {
  const shape = [layout.totalTokens]
  if (typeof config.lambda === 'number' && !learnedLambda) {
    const weights = memory.upload(poolingWeights(punctuation, layout, config.lambda, config.representatives), shape)
    return { forLayer: () => ({ kind: 'fused', weights }), dispose: () => weights.dispose() }
  }
  const branches = branchWeights(punctuation, layout, config.representatives)
  // Computed before the first upload, so that a lambda of the wrong size leaves nothing on the device.
  const rows = Array.from({ length: learnedLambda ? 0 : heads.layers }, (_, layer) => layerLambda(config, layer, heads.kvHeads))
  const global = memory.upload(branches.global, shape)
  const marks = memory.upload(branches.punctuation, shape)
  const owned = rows.map((row) => memory.upload(row, [heads.kvHeads]))
  const lambdas = learnedLambda ?? owned
  return {
    forLayer: (layer) => ({ kind: 'branches', global, punctuation: marks, lambda: lambdas[layer] }),
    dispose: () => {
      for (const tensor of [global, marks, ...owned]) tensor.dispose()
    },
  }
}
