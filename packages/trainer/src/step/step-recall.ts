import { activatedTokens, type PunctuationTable, type SchedulePoint } from '@phsa/core'
import type { DecoderModel } from '@phsa/model'
import { batchRecalls } from '../evaluation/batch-recalls.js'
import { requireInteger } from '../number-settings.js'
import { attentionAt } from '../step-attention.js'
import type { TrainerPlan } from '../trainer-options.js'
import { trainingBatch } from '../training-batch.js'
import type { PackedRow } from '../training-data.js'

/** How often attention-mass recall is measured while training, and on how much (spec 9). */
export interface RecallOptions {
  /** Steps between two; the last step is always measured. */
  readonly every: number
  /** Query positions to sample, at most; default 64. */
  readonly rows?: number
}

/** Attention-mass recall of a sample of the step's own tokens, with the parameters after it (spec 9). */
export interface StepRecall {
  /** 0 to 1: mean over layers, heads and sampled queries. */
  readonly mean: number
  /** Of each layer; 1 in a dense one. */
  readonly layers: readonly number[]
  /** Blocks that were chosen: the step's, in a dense stage the model's. */
  readonly topK: number
  /** Queries sampled. */
  readonly queries: number
}

/** The step that is measured. */
export interface StepRecallInput {
  readonly model: DecoderModel
  readonly plan: TrainerPlan
  readonly punctuation?: PunctuationTable
  readonly point: SchedulePoint
  /** Index of the step: decides the sample. */
  readonly step: number
  readonly rows: readonly PackedRow[]
}

/**
 * Recall on the row of the step that has the longest sequence, by a dense forward pass of it; undefined where no position of it lies past A. Draws
 * nothing from the run.
 */
export async function stepRecall({ model, plan, punctuation, point, step, rows }: StepRecallInput): Promise<StepRecall | undefined> {
  const topK = point.dense ? model.phsa.topK : point.topK
  const { policy, phsa } = attentionAt({ ...point, dense: false, topK }, plan, model, step)
  const longest = (row: PackedRow) => Math.max(...row.sequences.map(({ length }) => length))
  const row = rows.reduce((best, other) => (longest(other) > longest(best) ? other : best))
  const { layers, queries } = await batchRecalls({
    model,
    batch: trainingBatch([row], punctuation),
    variants: [{ policy, phsa }],
    past: activatedTokens(policy.configure(phsa)),
    rows: plan.recall?.rows ?? 64,
    seed: plan.seed + step,
  })
  if (queries === 0) return undefined
  const recalls = layers.map(([{ recall }]) => recall)
  return { mean: recalls.reduce((sum, recall) => sum + recall, 0) / recalls.length, layers: recalls, topK, queries }
}

/** @throws InvalidConfigError naming the setting */
export function requireRecall({ every, rows = 64 }: RecallOptions): Required<RecallOptions> {
  requireInteger('recall.every', every, 1)
  requireInteger('recall.rows', rows, 1)
  return { every, rows }
}
