import type { LambdaSummary } from './step/learned-lambda.js'
import type { LossSpike } from './step/loss-spike.js'
import type { StepRecall } from './step/step-recall.js'
import type { ValidationResult } from './validation.js'

/** What one training step did. Numbers are `NaN` where the step met no finite value; in the log they are null. */
export interface StepEvent {
  /** Steps done, this one included, since the run began. */
  readonly step: number
  /** Tokens seen, this step included. */
  readonly tokens: number
  /** Mean negative log-likelihood of the predicted tokens, natural logarithm. */
  readonly loss: number
  /** Mean over the layers that select, without the coefficient (spec 10); absent where the stage does not distil. */
  readonly distillationLoss?: number
  /** Norm of all gradients before clipping. */
  readonly gradientNorm: number
  readonly learningRate: number
  /** Index of the schedule's stage. */
  readonly stage: number
  readonly topK: number | 'dense'
  readonly tokensPerSecond: number
  /** Model FLOPs over what the devices could have done in the time of the step, 0 to 1; absent where their peak is not known. See `TrainingFlops`. */
  readonly mfu?: number
  /** Whether the gradients were not finite, so that the parameters stayed as they were. */
  readonly skipped: boolean
  /** The loss was far above those of the steps before. A note only. */
  readonly spike?: LossSpike
  /** Lambda after this step, where it is learned (spec 10). */
  readonly lambda?: LambdaSummary
  /** Attention-mass recall on a sample, where it was measured (spec 9). */
  readonly recall?: StepRecall
  /** Loss of the held-out text after this step, where it was measured. */
  readonly validation?: ValidationResult
  /** In the first event of a run that resumed from an older checkpoint, because newer ones are damaged: what is wrong with them. */
  readonly passedOver?: readonly string[]
  /** Folder of the checkpoint written after this step. Not in the log. */
  readonly checkpoint?: string
}
