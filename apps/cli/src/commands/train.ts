import { stat } from 'node:fs/promises'
import { join } from 'node:path'
import { selectionPolicy } from '@phsa/core'
import { saveModel } from '@phsa/model'
import { createTrainer, findCheckpoint, listCheckpoints, type OptimizerOptions, type StepEvent } from '@phsa/trainer'
import { withBackend } from '../backends.js'
import { ExitCode } from '../exit-code.js'
import { prepareFolder } from '../files/prepare-folder.js'
import { type Interruption, interruptible } from '../interruption.js'
import { readText } from '../read-text.js'
import { reportJsonLine } from '../report-json.js'
import { formatCount } from '../terminal/format.js'
import { followTraining } from '../training/follow-training.js'
import { type Learner, type LearnerChoice, prepareLearner } from '../training/prepare-learner.js'
import { parseScheduleOption } from '../training/schedule-option.js'
import { tokenizeText } from '../training/tokenize-text.js'
import { type ValidationChoice, validationData } from '../training/validation-data.js'
import { UsageError } from '../usage-error.js'

export interface TrainOptions extends LearnerChoice, ValidationChoice {
  readonly out: string
  readonly steps: number
  readonly sequenceTokens: number
  readonly sequences: number
  readonly accumulate: number
  readonly learningRate: number
  readonly warmupSteps?: number
  readonly decay: NonNullable<OptimizerOptions['decay']>
  readonly decayShare?: number
  readonly finalShare?: number
  readonly schedule: string
  readonly policy: string
  readonly checkpointEvery: number
  readonly resume?: boolean
  readonly resumeOrStart?: boolean
  readonly backend?: string
  readonly json?: boolean
}

/** Trains on text files and saves a model folder; an interrupted run leaves a checkpoint that `--resume` continues. */
export async function runTrain(files: readonly string[], options: TrainOptions): Promise<ExitCode> {
  const schedule = parseScheduleOption(options.schedule)
  const policy = selectionPolicy(options.policy)
  checkTogether(options)
  await checkOutput(options)
  const texts = await Promise.all(files.map(readText))
  return interruptible((interruption) =>
    withBackend(options.backend, async (backend) => {
      const learner = await prepareLearner(options, backend)
      try {
        const data = await tokenizeText(texts.join('\n\n\n'), learner.tokenizer)
        process.stderr.write(
          `${formatCount(learner.model.parameterCount)} parameters on ${backend.name} (${backend.device}); ${formatCount(data.totalTokens)} tokens of text\n`,
        )
        const checkpoints = join(options.out, 'checkpoints')
        const validation = await validationData(options, learner)
        const { learningRate, warmupSteps, decay, decayShare, finalShare } = options
        const trainer = createTrainer({
          model: learner.model,
          data,
          punctuation: learner.punctuation,
          batch: { sequences: options.sequences, tokens: options.sequenceTokens, accumulate: options.accumulate },
          steps: options.steps,
          schedule,
          policy,
          optimizer: { learningRate, warmupSteps, decay, decayShare, finalShare },
          seed: options.seed,
          log: join(options.out, 'log.jsonl'),
          checkpoint: { folder: checkpoints, every: options.checkpointEvery, tokenizerFrom: learner.tokenizerFolder },
          ...(options.resume || options.resumeOrStart ? { resume: { from: checkpoints, orStart: options.resumeOrStart === true } } : {}),
          ...(validation ? { validation } : {}),
          signal: interruption.signal,
        })
        const onStep = options.json ? (event: StepEvent) => process.stdout.write(reportJsonLine({ type: 'step', ...event })) : undefined
        const events = await followTraining(trainer, options.steps, interruption, onStep)
        return await finish(options, learner, interruption, events.at(-1))
      } finally {
        learner.model.dispose()
      }
    }),
  )
}

function checkTogether({ model, tokenizer, validation, validationEvery, validationWindows, decay, decayShare }: TrainOptions): void {
  if (model !== undefined && tokenizer !== undefined) {
    throw new UsageError('--tokenizer does not go with --model, which brings its own; leave one of them out.')
  }
  if (validation === undefined && (validationEvery !== undefined || validationWindows !== undefined)) {
    throw new UsageError(
      '--validation-every and --validation-windows need --validation, the text that is measured; give it, or leave them out.',
    )
  }
  if (decay !== 'wsd' && decayShare !== undefined) {
    throw new UsageError(`--decay-share goes with --decay wsd; with --decay ${decay} the rate falls over the whole run.`)
  }
}

/** What the trainer would refuse at its start is found here, before the text is tokenized, which can take minutes. */
async function checkOutput({ out, resume, resumeOrStart }: TrainOptions): Promise<void> {
  await prepareFolder(out)
  const checkpoints = join(out, 'checkpoints')
  if (resume) await findCheckpoint(checkpoints)
  if (resume || resumeOrStart) return
  if ((await listCheckpoints(checkpoints)).length > 0) {
    throw new UsageError(`${checkpoints} holds checkpoints of an earlier run; continue it with --resume, or give another --out.`)
  }
  const log = join(out, 'log.jsonl')
  if (await isFilled(log)) {
    throw new UsageError(
      `${log} holds the steps of a run that left no checkpoint; start it again with --resume-or-start, which begins a new log, or give another --out.`,
    )
  }
}

async function isFilled(path: string): Promise<boolean> {
  try {
    return (await stat(path)).size > 0
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false
    throw error
  }
}

async function finish(
  { out, steps, json }: TrainOptions,
  { model, tokenizerFolder }: Learner,
  interruption: Interruption,
  last: StepEvent | undefined,
): Promise<ExitCode> {
  const say = (text: string, summary: object) => process.stdout.write(json ? reportJsonLine({ type: 'end', ...summary }) : `${text}\n`)
  if (interruption.requested && (last?.step ?? 0) < steps) {
    const step = last?.step ?? 0
    const checkpoint = last?.checkpoint ?? (await listCheckpoints(join(out, 'checkpoints'))).at(-1)?.path
    say(
      `interrupted after step ${step} of ${steps}; checkpoint: ${checkpoint ?? 'none yet'}. Continue with the same command and ${checkpoint ? '--resume' : '--resume-or-start'}.`,
      { interrupted: true, step, steps, ...(checkpoint === undefined ? {} : { checkpoint }) },
    )
    return ExitCode.interrupted
  }
  await saveModel(model, out, { tokenizerFrom: tokenizerFolder })
  const done = last ? `trained ${steps} steps; last loss ${last.loss.toFixed(4)}` : `already trained to step ${steps}`
  say(`${done}; model in ${out}`, { interrupted: false, step: steps, steps, ...(last ? { loss: last.loss } : {}), model: out })
  return ExitCode.ok
}
