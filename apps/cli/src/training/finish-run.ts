import { access } from 'node:fs/promises'
import { join } from 'node:path'
import { type DecoderModel, saveModel } from '@phsa/model'
import { bestCheckpoint, exportCheckpoint, listCheckpoints, type StepEvent } from '@phsa/trainer'
import { ExitCode } from '../exit-code.js'
import { reportJsonLine } from '../report-json.js'
import type { TrainPlan } from '../training-config/train-plan.js'
import { checkpointFolder, RUN_LOG, RUN_REPORT, RUN_TENSORBOARD } from './run-files.js'

/** How a run ended. */
export interface RunEnd {
  readonly plan: TrainPlan
  readonly model: DecoderModel
  /** Undefined where no step was left. */
  readonly last: StepEvent | undefined
  /** Whether it was asked to stop. */
  readonly interrupted: boolean
  readonly json: boolean
}

/** Saves the model of a run that is done, and says where all of it lies; of an interrupted one, how to go on. */
export async function finishRun(end: RunEnd): Promise<ExitCode> {
  const { plan, last, interrupted } = end
  if (interrupted && (last?.step ?? 0) < plan.steps) return sayInterrupted(end)
  await saveFinished(end)
  const { config, steps } = plan
  const { out, watching } = config
  const best = await bestCheckpoint(checkpointFolder(out))
  const places = {
    model: out,
    ...(best ? { best: best.path } : {}),
    log: join(out, RUN_LOG),
    ...((await exists(join(out, RUN_REPORT))) ? { report: join(out, RUN_REPORT) } : {}),
    ...(watching.tensorboard ? { tensorboard: join(out, RUN_TENSORBOARD) } : {}),
  }
  const done = last ? `trained ${steps} steps; last loss ${last.loss.toFixed(4)}` : `already trained to step ${steps}`
  const lines = [
    `model in ${out}${config.ema?.export ? ', with the averaged weights' : ''}`,
    best && `best checkpoint by validation: ${best.path}`,
    places.report && `report: ${places.report}`,
    places.tensorboard && `TensorBoard: tensorboard --logdir ${places.tensorboard}`,
  ]
  say(end, `${done}; ${lines.filter(Boolean).join('\n  ')}`, {
    interrupted: false,
    step: steps,
    steps,
    ...(last ? { loss: last.loss } : {}),
    ...places,
  })
  return ExitCode.ok
}

async function sayInterrupted(end: RunEnd): Promise<ExitCode> {
  const { plan, last } = end
  const newest = (await listCheckpoints(checkpointFolder(plan.config.out))).at(-1)
  const step = last?.step ?? newest?.step ?? 0
  const checkpoint = last?.checkpoint ?? newest?.path
  say(
    end,
    `interrupted after step ${step} of ${plan.steps}; checkpoint: ${checkpoint ?? 'none yet'}. Continue with the same command and ${checkpoint ? '--resume' : '--resume-or-start'}.`,
    { interrupted: true, step, steps: plan.steps, ...(checkpoint === undefined ? {} : { checkpoint }) },
  )
  return ExitCode.interrupted
}

/** The averaged weights are in the last checkpoint, which was written after the last step. */
async function saveFinished({ plan, model }: RunEnd): Promise<void> {
  const { config, model: planned } = plan
  const tokenizerFrom = planned.tokenizerFolder
  if (config.ema?.export) await exportCheckpoint(checkpointFolder(config.out), config.out, { weights: 'ema', tokenizerFrom })
  else await saveModel(model, config.out, { tokenizerFrom })
}

function say({ json }: RunEnd, text: string, summary: object): void {
  process.stdout.write(json ? reportJsonLine({ type: 'end', ...summary }) : `${text}\n`)
}

async function exists(path: string): Promise<boolean> {
  try {
    await access(path)
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false
    throw error
  }
}
