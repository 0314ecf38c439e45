import {
  type AttentionSpec,
  attentionSpec,
  type DType,
  densePolicy,
  InvalidConfigError,
  type PhsaConfig,
  type SelectionPolicy,
} from '@phsa/core'
import type { DecoderConfig } from './decoder-config.js'

/** How a model attends: which blocks are chosen, and with which parameters. */
export interface AttentionChoice {
  readonly policy: SelectionPolicy
  readonly phsa: PhsaConfig
}

/** A choice worked out for the layers of one model. */
export interface LayerPlan {
  /** The policy's own configuration. */
  readonly phsa: PhsaConfig
  /** Before the policy derives its own from it. */
  readonly spec: AttentionSpec
  policy(layer: number): SelectionPolicy
  /** Indices of the layers that select blocks. */
  readonly sparseLayers: readonly number[]
}

/**
 * Applies the policy's configuration and the list of dense layers (spec 7).
 * @throws InvalidConfigError for a dense layer that the model does not have
 */
export function planLayers(choice: AttentionChoice, config: DecoderConfig, dtype: DType): LayerPlan {
  const phsa = choice.policy.configure(choice.phsa)
  const missing = phsa.denseLayers.find((layer) => layer >= config.layers)
  if (missing !== undefined) {
    throw new InvalidConfigError('denseLayers', `denseLayers has ${missing}; this model has layers 0 to ${config.layers - 1}.`)
  }
  const dense = new Set(choice.policy.name === 'dense' ? Array.from({ length: config.layers }, (_, layer) => layer) : phsa.denseLayers)
  return {
    phsa,
    spec: attentionSpec(phsa, { heads: config.heads, kvHeads: config.kvHeads, headDim: config.headDim, dtype }),
    policy: (layer) => (dense.has(layer) ? densePolicy : choice.policy),
    sparseLayers: Array.from({ length: config.layers }, (_, layer) => layer).filter((layer) => !dense.has(layer)),
  }
}
