import type { TokenLogprob } from './engine-client.js'
import type { LogitAdjustments } from './logit-adjustments.js'
import type { StepTokens } from './step-arrays.js'

/** How a sequence's next token is drawn from its last row. */
export interface StepDraw {
  /** A row of the control of `ModelOps.sample`: temperature, topK, topP, minP, a random number. */
  readonly control: readonly [number, number, number, number, number]
  readonly adjustments: LogitAdjustments
  /** How many of the likeliest tokens are told beside the token's log-probability; undefined: none of it. */
  readonly logprobs: number | undefined
}

/** One sequence's part of a step. */
export interface StepInput extends StepTokens {
  /** Undefined where the chunk ends before the sequence does. */
  readonly draw: StepDraw | undefined
  /** Log-probabilities that are wanted of the tokens after the chunk's rows: their ids, for the first rows. */
  readonly following: { readonly ids: Int32Array; readonly top: number } | undefined
}

/** One sequence's part of a step whose token is not known yet: the one that the step before draws. */
export interface NextInput {
  /** As in `StepTokens`. */
  readonly pages: readonly number[]
  readonly draw: StepDraw
}

/** What a step gives for one sequence. */
export interface StepOutput {
  readonly id: number | undefined
  readonly logprob: TokenLogprob | undefined
  /** As `following` asks. */
  readonly following: readonly TokenLogprob[]
}

/** Whether a draw changes or tells logits, which needs them on the host. */
export function needsHost(draw: StepDraw | undefined): boolean {
  return draw !== undefined && (draw.logprobs !== undefined || !draw.adjustments.isNeutral)
}
