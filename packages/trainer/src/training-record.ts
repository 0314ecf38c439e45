import { InvalidConfigError, InvalidFileError } from '@phsa/core'
import type { LambdaState } from './step/learned-lambda.js'
import type { TrainerPlan } from './trainer-options.js'
import type { TrainingData } from './training-data.js'
import type { ValidationResult } from './validation.js'

/** Where a run stands: all that changes from step to step besides tensors. */
export interface RunPosition {
  /** Steps done, skipped ones included. */
  readonly step: number
  /** Steps that changed the parameters: `step` without the skipped ones. */
  readonly updates: number
  readonly tokens: number
  /** Next row of the data. */
  readonly row: number
  /** State of the stream that draws the rows to distil. */
  readonly distillationRandom: number
  /** Skipped steps in a row, up to now. */
  readonly skips: number
  /** What the next loss is compared with; see `lossSpike`. */
  readonly recentLosses: readonly number[]
  /** Where lambda is learned, or was by an earlier part of the run. */
  readonly lambda?: LambdaState
}

/** What the held-out text gave, and the attention that it was measured with: that of the step, where the record's is the next one's. */
export interface MeasuredValidation extends ValidationResult {
  readonly topK: number | 'dense'
}

/** What `trainer.json` holds: the run's position, what it must find again to continue, and for the reader the rest of its options. */
export interface TrainingRecord extends RunPosition {
  readonly version: 1
  readonly fingerprint: string
  readonly batch: TrainerPlan['batch']
  readonly seed: number
  readonly stage: number
  readonly topK: number | 'dense'
  /** What the held-out text gave after this step, where it was measured then: what the best checkpoint is chosen by. */
  readonly validation?: MeasuredValidation
  readonly steps: number
  readonly policy: string
  readonly schedule: unknown
  readonly learningRate: TrainerPlan['learningRate']
  readonly optimizer: TrainerPlan['optimizer']
  readonly distillation: TrainerPlan['distillation']
}

/** The record of a run at a position, as `trainer.json` holds it; plain JSON. */
export function trainingRecord(
  position: RunPosition,
  { stage, topK, validation }: Pick<TrainingRecord, 'stage' | 'topK' | 'validation'>,
  plan: TrainerPlan,
  data: TrainingData,
): TrainingRecord {
  const { batch, seed, steps, policy, schedule, learningRate, optimizer, distillation } = plan
  return {
    version: 1,
    ...position,
    stage,
    topK,
    ...(validation && { validation }),
    fingerprint: data.fingerprint,
    batch,
    seed,
    steps,
    policy: policy.name,
    schedule: schedule.toJSON(),
    learningRate,
    optimizer,
    distillation,
  }
}

/** @throws InvalidFileError for what no version of this package wrote */
export function parseRecord(json: unknown): TrainingRecord {
  if (typeof json !== 'object' || json === null) throw new InvalidFileError('it must hold one JSON object')
  const record = json as TrainingRecord
  if (record.version !== 1) throw new InvalidFileError(`its version is ${JSON.stringify(record.version)}, this package reads 1`)
  for (const name of ['step', 'updates', 'tokens', 'row', 'distillationRandom', 'skips', 'seed'] as const) {
    if (!Number.isSafeInteger(record[name]) || record[name] < 0) {
      throw new InvalidFileError(`${name} is ${JSON.stringify(record[name])}, not a non-negative integer`)
    }
  }
  // Runs of earlier versions kept none.
  return { ...record, recentLosses: record.recentLosses ?? [] }
}

/**
 * Whether a run may continue from this record. Data, batch and seed decide what a position means, so they must be the same; the rest may change.
 * @throws InvalidConfigError naming the first setting that differs
 */
export function requireSameRun(record: TrainingRecord, plan: TrainerPlan, data: TrainingData): void {
  const pairs: [setting: string, written: unknown, given: unknown][] = [
    ['data', record.fingerprint, data.fingerprint],
    ['batch.sequences', record.batch?.sequences, plan.batch.sequences],
    ['batch.tokens', record.batch?.tokens, plan.batch.tokens],
    ['batch.accumulate', record.batch?.accumulate ?? 1, plan.batch.accumulate],
    ['seed', record.seed, plan.seed],
  ]
  for (const [setting, written, given] of pairs) {
    if (written === given) continue
    const note = setting === 'batch.accumulate' ? ', counted over all GPUs' : ''
    throw new InvalidConfigError(
      setting,
      `the checkpoint was written with ${setting} ${written}, this run has ${given}${note}; give the same, or start a new run from the checkpoint's model.`,
    )
  }
}

/**
 * Whether a run of the plan's length reaches as far as this record; one that ends right there has nothing to do.
 * @throws InvalidConfigError for a record past the last step
 */
export function requireStepsLeft({ step }: TrainingRecord, { steps }: TrainerPlan): void {
  if (step <= steps) return
  throw new InvalidConfigError(
    'steps',
    `steps is ${steps}, but the checkpoint was written after step ${step}; give at least ${step}, or resume from an earlier checkpoint.`,
  )
}
