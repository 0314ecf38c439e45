import { attentionCost, attentionSpec, exactCounts } from '@phsa/core'
import { type DecoderConfig, parameterShapes } from '@phsa/model'
import type { ModelPlan, TrainPlan } from '../model/model-plan.js'

/** FLOPs of a step, a multiplication and an addition counting two: what its utilisation is counted by. Plain JSON. */
export interface TrainWork {
  /** Of the layers' matrices and the output head, forward and backward: 6 a weight and token. */
  readonly products: number
  /** Scores and weighted values of the keys that queries see, forward and twice that backward; the choice of blocks is not in it. */
  readonly attention: number
  /** The same of dense causal attention. */
  readonly denseAttention: number
}

/** What a step computes at least; what is computed again in the backward pass does not count. */
export function trainWork({ config, phsa, dtype }: Pick<ModelPlan, 'config' | 'phsa' | 'dtype'>, row: TrainPlan): TrainWork {
  const { sequences = 1, length, topK = phsa.topK } = row
  const spec = attentionSpec({ ...phsa, topK }, { heads: config.heads, kvHeads: config.kvHeads, headDim: config.headDim, dtype })
  const { attentionFlops, denseFlops } = attentionCost(spec, exactCounts(spec, Array<number>(sequences).fill(length)))
  const passes = 3 * config.layers
  return {
    products: 6 * sequences * length * multipliedWeights(config),
    attention: passes * (row.attention === 'dense' ? denseFlops : attentionFlops),
    denseAttention: passes * denseFlops,
  }
}

/** Weights that every token is multiplied with: all matrices; of the embedding only what the head reads. */
function multipliedWeights(config: DecoderConfig): number {
  let weights = config.vocabSize * config.hiddenSize
  for (const [name, shape] of parameterShapes(config)) {
    if (shape.length === 2 && name.includes('layers.')) weights += shape[0] * shape[1]
  }
  return weights
}
