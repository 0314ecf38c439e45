import type { TrainConfig } from './train-config.js'
import type { ModelPlan } from './train-plan.js'

/** Bytes on a device that a run takes at least; what kernels need besides comes on top. */
export interface MemoryEstimate {
  /** Weights, gradients, AdamW's moments, and what the optimizer keeps besides. */
  readonly state: number
  /** What the backward pass needs of the forward one, for the sequences that are worked on at once. */
  readonly activations: number
}

/** Bytes of one checkpoint: parameters, moments, f32 copies where the model has 16 bits, and the average. */
export function checkpointBytes({ ema }: Pick<TrainConfig, 'ema'>, { parameters, spec }: ModelPlan): number {
  return parameters * ((spec.dtype === 'f32' ? 12 : 14) + (ema ? 4 : 0))
}

/** What a run takes on its device, from the shapes alone. */
export function memoryEstimate(
  { batch, recompute, ema }: Pick<TrainConfig, 'batch' | 'recompute' | 'ema'>,
  { decoder, parameters, spec }: ModelPlan,
): MemoryEstimate {
  const { hiddenSize, intermediateSize, layers, heads, kvHeads, headDim } = decoder
  const width = spec.dtype === 'f32' ? 4 : 2
  const tokens = batch.sequences * batch.tokens
  // Where layers are computed again, the input of each and all of one; otherwise all of each. Input and middle; q before and after its norm, the output of attention; k likewise and v; gate and up.
  const kept = 2 * hiddenSize + 3 * heads * headDim + 3 * kvHeads * headDim + 2 * intermediateSize
  return {
    state: parameters * (width + 4 + 8 + (width === 2 ? 4 : 0) + (ema ? 4 : 0)),
    activations: tokens * (recompute ? layers * hiddenSize + kept : layers * kept) * width,
  }
}
