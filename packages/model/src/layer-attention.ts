import type { AttentionSpec, Layout, Tensor, TokenWeights } from '@phsa/core'
import { type LayerContext, layerForward } from './decoder-layer.js'

/** What one layer's attention works on, for measures and inspection. */
export interface LayerAttention {
  /** [T, Hq, D], [T, Hkv, D] and [T, Hkv, D]. */
  readonly q: Tensor
  readonly k: Tensor
  readonly v: Tensor
  /** i32 [Hkv, T, topK]; undefined in a dense layer. */
  readonly selected: Tensor | undefined
  readonly weights: TokenWeights
  readonly layout: Layout
  /** Of the layer's policy. */
  readonly spec: AttentionSpec
}

/**
 * Runs the layers of a pass, one each time that the next is asked for. What comes belongs to whoever asks; the states between layers are freed.
 * @param states [T, E], of the embedding; taken over
 */
export function* walkLayers(states: Tensor, contexts: Iterable<LayerContext & { readonly selects: boolean }>): Generator<LayerAttention> {
  let input = states
  try {
    for (const { selects, ...context } of contexts) {
      const { backend, policy, spec, weights, layout } = context
      const { output, ...attention } = backend.memory.scope(() => {
        const { q, k, v, selected, output } = layerForward(context, input)
        return { q, k, v, selected: selects ? selected : undefined, output }
      })
      input.dispose()
      input = output
      yield { ...attention, weights, layout, spec: policy.spec(spec) }
    }
  } finally {
    input.dispose()
  }
}
