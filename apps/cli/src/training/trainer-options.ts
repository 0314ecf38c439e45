import { join } from 'node:path'
import type { DecoderModel } from '@phsa/model'
import type { TrainerOptions, TrainingData, ValidationOptions } from '@phsa/trainer'
import type { TrainPlan } from '../training-config/train-plan.js'
import { checkpointFolder, RUN_LOG, RUN_TENSORBOARD } from './run-files.js'

/** What a run needs that no configuration holds. */
export interface RunParts {
  readonly model: DecoderModel
  readonly data: TrainingData
  readonly validation: ValidationOptions | undefined
  readonly signal: AbortSignal
}

/** A plan as `createTrainer` takes it. */
export function trainerOptions({ config, schedule, model: planned, steps }: TrainPlan, { validation, ...parts }: RunParts): TrainerOptions {
  const { out, run, batch, optimizer, policy, distillation, seed, checkpoint, maxSkips, watching, recall, ema } = config
  const folder = checkpointFolder(out)
  return {
    ...parts,
    punctuation: planned.punctuation,
    ...(run.tokens === undefined ? { steps } : { totalTokens: run.tokens }),
    batch,
    optimizer,
    schedule,
    policy,
    distillation: {
      coefficient: distillation.coefficient,
      rowsPerSequence: distillation.positions,
      ...(distillation.lambda === 'learned' ? { lambda: { learningRate: distillation.lambdaLearningRate } } : {}),
    },
    seed,
    maxSkips,
    log: join(out, RUN_LOG),
    ...(watching.tensorboard ? { tensorboard: join(out, RUN_TENSORBOARD) } : {}),
    peakTeraflops: watching.peakTeraflops,
    checkpoint: { ...checkpoint, folder, tokenizerFrom: planned.tokenizerFolder },
    ...(recall ? { recall: { every: recall.every, rows: recall.positions } } : {}),
    ...(ema ? { ema: { decay: ema.decay, validate: ema.validate } } : {}),
    ...(run.start === 'new' ? {} : { resume: { from: folder, orStart: run.start === 'resume-or-start', orOlder: run.orOlder } }),
    ...(validation ? { validation } : {}),
  }
}
