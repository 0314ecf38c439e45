import type { PhsaConfig } from '@phsa/core'
import type { ChoiceResult, EvaluationRow, PositionRow, RetrievalRow } from '@phsa/trainer'
import type { Machine } from '../machine.js'

/** A multiple-choice file that was scored. */
export interface ScoredChoices extends ChoiceResult {
  readonly file: string
}

/** Everything that `phsa eval` found. Plain JSON. */
export interface EvalReport {
  readonly createdAt: string
  readonly version: string
  readonly machine: Machine
  readonly backend: string
  readonly device: string
  readonly model: string
  /** The model's own settings; `selections` say what policy and topK take their place. */
  readonly phsa: PhsaConfig
  readonly files: readonly string[]
  readonly windows: number
  readonly tokens: number
  readonly seed: number
  /** Dense first; empty without a text. */
  readonly selections: readonly EvaluationRow[]
  /** Dense first; absent where it was not asked for, as are the two after it. */
  readonly positions?: readonly PositionRow[]
  readonly retrieval?: readonly RetrievalRow[]
  readonly choices?: readonly ScoredChoices[]
}
