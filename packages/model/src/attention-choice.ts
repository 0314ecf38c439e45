import {
  type AttentionSpec,
  attentionSpec,
  type DType,
  densePolicy,
  InvalidConfigError,
  type PhsaConfig,
  type SelectionPolicy,
  type Tensor,
} from '@phsa/core'
import type { DecoderConfig } from './decoder-config.js'

/** How a model attends: which blocks are chosen, and with which parameters. */
export interface AttentionChoice {
  readonly policy: SelectionPolicy
  readonly phsa: PhsaConfig
  /** f32 [Hkv] a layer, taken in place of the configuration's lambda and owned by the caller: a lambda that is learned (spec 10). */
  readonly lambda?: readonly Tensor[]
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
  /** See `AttentionChoice`. */
  readonly lambda: readonly Tensor[] | undefined
}

/**
 * Applies the policy's configuration and the list of dense layers (spec 7).
 * @throws InvalidConfigError for a dense layer that the model does not have, and for a lambda beside a policy that has its own
 */
export function planLayers(choice: AttentionChoice, config: DecoderConfig, dtype: DType): LayerPlan {
  const phsa = choice.policy.configure(choice.phsa)
  const missing = phsa.denseLayers.find((layer) => layer >= config.layers)
  if (missing !== undefined) {
    throw new InvalidConfigError('denseLayers', `denseLayers has ${missing}; this model has layers 0 to ${config.layers - 1}.`)
  }
  requireFreeLambda(choice, config)
  const dense = new Set(choice.policy.name === 'dense' ? Array.from({ length: config.layers }, (_, layer) => layer) : phsa.denseLayers)
  return {
    phsa,
    spec: attentionSpec(phsa, { heads: config.heads, kvHeads: config.kvHeads, headDim: config.headDim, dtype }),
    policy: (layer) => (dense.has(layer) ? densePolicy : choice.policy),
    sparseLayers: Array.from({ length: config.layers }, (_, layer) => layer).filter((layer) => !dense.has(layer)),
    lambda: choice.lambda,
  }
}

function requireFreeLambda({ policy, phsa, lambda }: AttentionChoice, { layers }: DecoderConfig): void {
  if (!lambda) return
  if (policy.configure({ ...phsa, lambda: 0.5 }).lambda !== 0.5) {
    throw new InvalidConfigError('lambda', `lambda is given, but policy ${policy.name} sets it itself; leave it out, or use policy phsa.`)
  }
  if (lambda.length !== layers) {
    throw new InvalidConfigError(
      'lambda',
      `lambda has ${lambda.length} tensors; give one of [Hkv] for each of the model's ${layers} layers.`,
    )
  }
}
