import {
  type AttentionBackend,
  attentionSpec,
  densePolicy,
  type LayerWeights,
  measureRecall,
  type RecallInput,
  type RecallMeasurement,
  type SelectionPolicy,
} from '@phsa/core'
import type { PolicyVariant } from './policy-variant.js'

/** One layer's attention of a batch, as the dense forward made it, and the queries to measure. */
export interface LayerSample extends RecallInput {
  readonly layer: number
  readonly heads: { readonly heads: number; readonly kvHeads: number; readonly headDim: number }
}

/**
 * Recall of each variant on one layer (spec 9). The block masses are computed once, for all of them.
 * @param weightsOf token weights of a policy's configuration; topK has no part in them
 */
export async function layerRecalls(
  backend: AttentionBackend,
  sample: LayerSample,
  variants: readonly PolicyVariant[],
  weightsOf: (policy: SelectionPolicy) => LayerWeights,
): Promise<RecallMeasurement[]> {
  const { layer, q, k, layout, heads } = sample
  const selections = backend.memory.scope(() =>
    variants.map((variant) => {
      const phsa = variant.policy.configure(variant.phsa)
      const policy = phsa.denseLayers.includes(layer) ? densePolicy : variant.policy
      const spec = policy.spec(attentionSpec(phsa, { ...heads, dtype: q.dtype }))
      // The oracle's policy would compute the masses of all rows; its choice is read off those of the sampled ones instead.
      if (policy.name === 'oracle') return { spec }
      return { spec, selected: policy.select(backend, { q, k, layout, spec, weights: weightsOf(variant.policy).forLayer(layer) }) }
    }),
  )
  try {
    return await measureRecall(backend, sample, selections)
  } finally {
    for (const { selected } of selections) selected?.dispose()
  }
}
