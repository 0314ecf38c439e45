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
  /** Whether the gradients were not finite, so that the parameters stayed as they were. */
  readonly skipped: boolean
  /** Loss of the held-out text after this step, where it was measured. */
  readonly validation?: ValidationResult
  /** Folder of the checkpoint written after this step. Not in the log. */
  readonly checkpoint?: string
}
