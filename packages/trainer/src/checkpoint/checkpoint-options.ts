import { type DType, InvalidConfigError } from '@phsa/core'
import { USUAL_SHARD_BYTES } from '@phsa/model'
import { requireInteger } from '../number-settings.js'
import type { Retention } from './prune-checkpoints.js'
import type { ResumeOptions } from './resume-checkpoint.js'

/** Where checkpoints are written, how often, and which are kept. */
export interface CheckpointOptions {
  /** Gets a folder `step-00000000` for each checkpoint; made where it is missing. */
  readonly folder: string
  /** Steps between two; the last step and an interrupted one are always saved. Default 500. */
  readonly every?: number
  /** Checkpoints kept, the newest ones; default 2. */
  readonly keep?: number
  /**
   * `validation` keeps the one with the lowest validation loss besides, of those whose step was validated; see `findCheckpoint`. Default where there
   * is validation, otherwise `none`.
   */
  readonly best?: Retention['best']
  /** Most bytes of tensors in one file; a larger tensor has a file to itself. Default 5e9; Infinity keeps weights, and optimizer state, together. */
  readonly maxShardBytes?: number
  /** Folder whose tokenizer files each checkpoint gets a copy of. */
  readonly tokenizerFrom?: string
}

/** The same with its defaults, checked. */
export type CheckpointPlan = Required<Omit<CheckpointOptions, 'tokenizerFrom'>> & Pick<CheckpointOptions, 'tokenizerFrom'>

/** What decides whether a run can write checkpoints, and which can be the best. */
export interface CheckpointedRun {
  readonly dtype: DType
  readonly steps: number
  readonly validation: { readonly every: number } | undefined
}

/** @throws InvalidConfigError naming the setting */
export function planCheckpoints(options: CheckpointOptions, { dtype, steps, validation }: CheckpointedRun): CheckpointPlan {
  const plan: CheckpointPlan = {
    ...options,
    every: options.every ?? 500,
    keep: options.keep ?? 2,
    best: options.best ?? (validation ? 'validation' : 'none'),
    maxShardBytes: options.maxShardBytes ?? USUAL_SHARD_BYTES,
  }
  if (dtype === 'f64') {
    throw new InvalidConfigError(
      'checkpoint',
      'the model is f64, which no checkpoint holds exactly; train it in f32, or without checkpoints.',
    )
  }
  requireInteger('checkpoint.every', plan.every, 1)
  requireInteger('checkpoint.keep', plan.keep, 1)
  if (!(plan.maxShardBytes >= 1)) {
    throw new InvalidConfigError(
      'checkpoint.maxShardBytes',
      `checkpoint.maxShardBytes is ${plan.maxShardBytes}; it must be at least 1; Infinity keeps the weights in one file.`,
    )
  }
  if (plan.best !== 'validation' && plan.best !== 'none') {
    throw new InvalidConfigError('checkpoint.best', `checkpoint.best is ${JSON.stringify(plan.best)}; give 'validation' or 'none'.`)
  }
  if (options.best === 'validation') requireMeasured(plan, steps, validation)
  return plan
}

/** @throws InvalidConfigError where there would be nothing to go on with */
export function requireResume({ orStart }: ResumeOptions, checkpoint: CheckpointOptions | undefined): void {
  if (!orStart || checkpoint) return
  throw new InvalidConfigError(
    'resume',
    'resume has orStart, but checkpoint is not set, so there would be nothing to go on with; set checkpoint, or leave orStart out.',
  )
}

/** Whether any checkpoint but the last one would have a loss to be chosen by. */
function requireMeasured({ every }: CheckpointPlan, steps: number, validation: CheckpointedRun['validation']): void {
  if (!validation) {
    throw new InvalidConfigError(
      'checkpoint.best',
      'checkpoint.best asks for the best by validation, but there is no validation; set validation, or leave best out.',
    )
  }
  for (let step = every; step < steps; step += every) if (step % validation.every === 0) return
  if (every >= steps) return
  throw new InvalidConfigError(
    'checkpoint.best',
    `checkpoints come every ${every} steps and validation every ${validation.every}: of ${steps} steps only the last has both; make checkpoint.every a multiple of validation.every, or leave best out.`,
  )
}
