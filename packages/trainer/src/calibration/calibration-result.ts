import type { Estimate } from '../evaluation/cluster-estimate.js'
import type { ScoreSetting } from './calibration-options.js'

/** What one KV head of one layer wants. */
export interface HeadCalibration {
  /** Chosen on the first half of the windows; `before` where no other is better by more than its interval. */
  readonly lambda: number
  /** What the model has. */
  readonly before: number
  /** What the best candidate gains over `before` in recall, on the half that it was chosen on. */
  readonly choosingGain: Estimate
  /** Recall of each candidate on the held-out half, in the order of `Calibration.lambdas`. */
  readonly recalls: readonly number[]
  /** Recall of `lambda` on the held-out half. */
  readonly recall: number
  /** Share of queries whose strongest far key is punctuation, 0 to 1, over both halves. */
  readonly strongestIsPunctuation: number
}

/** A number of representatives and a score on the held-out half: means over all heads that choose. */
export interface SettingCalibration extends ScoreSetting {
  /** Recall of each lambda, one for all heads, in the order of `Calibration.lambdas`. */
  readonly recalls: readonly number[]
  /** Recall of a lambda a head, chosen on the first half for this setting. */
  readonly calibrated: number
}

/** Recall on the held-out half: means over its sampled queries and all heads that choose blocks. */
export interface HeldOutRecall {
  readonly calibrated: number
  /** Of the lambdas that the model had. */
  readonly before: number
  /** Of lambda 1 and of 0.5 in every head. */
  readonly one: number
  readonly half: number
  /** Of the blocks of highest mass: no choice at this budget sees more. */
  readonly oracle: number
  /** `calibrated` less the other, by windows. */
  readonly gainOverBefore: Estimate
  readonly gainOverOne: Estimate
  readonly gainOverHalf: Estimate
}

/**
 * Whether leaning on punctuation shows more of the attention than lambda 1 does, on the held-out half: `helps` where the gain lies above its 95 % interval,
 * `hurts` where it lies below it, and lambda 1 should be taken, else `as-good`.
 */
export type PunctuationVerdict = 'helps' | 'as-good' | 'hurts'

/** All that a calibration found; plain JSON. */
export interface Calibration {
  /** For the model's configuration: [layers][Hkv]. A layer that attends densely keeps what it has. */
  readonly lambda: readonly (readonly number[])[]
  readonly verdict: PunctuationVerdict
  readonly topK: number
  /** Positions from this one on were measured. */
  readonly past: number
  /** Windows that were chosen on, and that were held out. */
  readonly windows: readonly [choosing: number, heldOut: number]
  /** Sampled queries of each layer and KV head in these. */
  readonly queries: readonly [choosing: number, heldOut: number]
  /** Candidates, ascending. */
  readonly lambdas: readonly number[]
  readonly heldOut: HeldOutRecall
  /** Means over all queries and heads: of strongest far keys that are punctuation, and of far keys that are, which is what chance would give. */
  readonly punctuation: { readonly strongest: number; readonly farKeys: number }
  /** [layers][Hkv]; null where the layer attends densely. */
  readonly layers: readonly (readonly HeadCalibration[] | null)[]
  /** The model's own first. */
  readonly settings: readonly SettingCalibration[]
}
