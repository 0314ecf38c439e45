import type { CrossEntropyOutput, Tensor } from '@phsa/core'
import type { LayerPlan } from './attention-choice.js'
import type { BatchTensors } from './batch-tensors.js'
import type { LayerDistillation } from './decoder-layer.js'

/** Block distillation of a training step (spec 10). */
export interface DistillationChoice {
  /** Weight in the objective. */
  readonly coefficient: number
  /** `[n]`: rows of the batch that are sampled; see `sampleDistillationRows`. */
  readonly rows: Int32Array
  /** f32 [Hkv] a layer: the gradient of `AttentionChoice.lambda` is added to them, in layers that select blocks. */
  readonly dLambda?: readonly Tensor[]
}

/** Losses of one training step, on the device. */
export interface TrainingLosses extends CrossEntropyOutput {
  /** f32 [1]: mean over the layers that select, without the coefficient; undefined without distillation or where every layer is dense. */
  readonly distillationLoss: Tensor | undefined
}

/** What a training step reads, on the device; see `DecoderModel.uploadTraining`. */
export interface TrainingTensors {
  readonly plan: LayerPlan
  readonly batch: BatchTensors
  /** i32 [T] and f32 [T]. */
  readonly targets: { readonly targets: Tensor; readonly weights: Tensor }
  /** `coefficient` is that of one layer, and `share` [1, 1] one over the number of layers that select. */
  readonly distillation:
    | (Omit<LayerDistillation, 'dLambda'> & { readonly share: Tensor; readonly dLambda: readonly Tensor[] | undefined })
    | undefined
}

/**
 * Called as gradients become final, with their Hugging Face names: nothing queued afterwards by the same pass adds to them, so that their sum over several
 * GPUs can go beside the rest. The head where it is not tied comes first, then the layers from the last to the first, the embedding at the end.
 */
export type GradientsFinal = (names: readonly string[]) => void
