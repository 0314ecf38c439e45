import type { TrainPlan } from '../model/model-plan.js'
import type { ModelFigures, ModelResult } from '../model/model-result.js'
import { type TrainWork, trainWork } from './train-work.js'

/** One row: a step, and what it computes. Plain JSON. */
export type TrainRow = TrainPlan & { readonly work: TrainWork } & (
    | ({ readonly outcome: 'measured' } & ModelFigures)
    | { readonly outcome: 'wrong' | 'failed' | 'left-out'; readonly reason: string }
  )

/** What `bench-train` writes. Plain JSON. */
export type TrainResult = Omit<ModelResult, 'format' | 'rows' | 'training'> & {
  readonly format: 'phsa-train/1'
  readonly rows: readonly TrainRow[]
}

/** The training rows of a model's result, each with its work. */
export function trainResult({ training, ...result }: ModelResult, plan: Parameters<typeof trainWork>[0]): TrainResult {
  const rows = result.rows.flatMap((row) => (row.group === 'train' ? [{ ...row, work: trainWork(plan, row) }] : []))
  return { ...result, format: 'phsa-train/1', rows }
}
