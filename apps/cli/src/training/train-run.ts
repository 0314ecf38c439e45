import { join } from 'node:path'
import type { ModelBackend } from '@phsa/core'
import { createTrainer, type StepEvent, type Trainer, type TrainingData } from '@phsa/trainer'
import { ExitCode } from '../exit-code.js'
import { writeWholeFile } from '../files/write-whole-file.js'
import type { Interruption } from '../interruption.js'
import { isFirstRank, withTrainingBackend } from '../launch/rank-place.js'
import { reportJsonLine } from '../report-json.js'
import { formatCount } from '../terminal/format.js'
import { RESOLVED_CONFIG } from '../training-config/resume-changes.js'
import type { TrainPlan } from '../training-config/train-plan.js'
import { configText } from './describe-plan.js'
import { finishRun } from './finish-run.js'
import { followTraining } from './follow-training.js'
import { openData } from './open-data.js'
import { prepareLearner } from './prepare-learner.js'
import { RunReportWriter } from './run-report-writer.js'
import { stoppedRun } from './stopped-run.js'
import { trainerOptions } from './trainer-options.js'
import { validationData } from './validation-data.js'

/** Stands for data that is not tokenized yet. */
const NO_DATA: TrainingData = {
  fingerprint: '',
  rows: () => ({ row: () => ({ sequences: [] }) }),
}

/** Trains as planned, alone or as one of several processes, of which the first writes and speaks. */
export async function trainRun(plan: TrainPlan, interruption: Interruption, json: boolean): Promise<ExitCode> {
  const train = (backend: ModelBackend) => trainOn(backend, plan, interruption, json)
  const code = await withTrainingBackend(plan.config.backend, train, plan.model.spec)
  if (code !== ExitCode.ok || !plan.config.evaluation || !isFirstRank(process.env)) return code
  const { evaluateRun } = await import('./evaluate-run.js')
  return evaluateRun(plan.config, json)
}

async function trainOn(backend: ModelBackend, plan: TrainPlan, interruption: Interruption, json: boolean): Promise<ExitCode> {
  const isFirst = (backend.collective?.rank ?? 0) === 0
  const { signal } = interruption
  const validation = await validationData(plan)
  const model = await prepareLearner(plan, backend)
  try {
    // What the trainer refuses is known before hours of tokenizing.
    createTrainer(trainerOptions(plan, { model, data: NO_DATA, validation, signal }))
    const opened = await openData(plan, signal, isFirst)
    try {
      const trainer = createTrainer(trainerOptions(plan, { model, data: opened.data, validation, signal }))
      if (!isFirst) return await trainSilently(trainer, interruption)
      const { name, device, collective } = backend
      const group = collective ? `${collective.size} x ` : ''
      process.stderr.write(
        `${formatCount(model.parameterCount)} parameters on ${group}${name} (${device}); ${formatCount(opened.tokens)} tokens of data\n`,
      )
      if (opened.badRecords !== undefined) process.stderr.write(`${opened.badRecords}\n`)
      const last = await trainAloud(trainer, plan, interruption, json)
      return await finishRun({ plan, model, last, interrupted: interruption.requested || endedEarly(last, plan), json })
    } finally {
      opened.close()
    }
  } catch (error) {
    if (!interruption.caused(error)) throw error
    process.stderr.write('interrupted before the first step; nothing was trained.\n')
    return ExitCode.interrupted
  } finally {
    model.dispose()
  }
}

async function trainAloud(trainer: Trainer, plan: TrainPlan, interruption: Interruption, json: boolean): Promise<StepEvent | undefined> {
  const { out } = plan.config
  const reports = new RunReportWriter(out)
  let hasBegun = false
  const onStep = async (event: StepEvent) => {
    // Not before: where the trainer refuses to go on, what the run was begun with must stay.
    if (!hasBegun) await writeWholeFile(join(out, RESOLVED_CONFIG), configText(plan))
    hasBegun = true
    for (const damage of event.passedOver ?? []) process.stderr.write(`passed over: ${damage}\n`)
    if (json) process.stdout.write(reportJsonLine({ type: 'step', ...event }))
    await reports.afterStep(event)
  }
  try {
    const last = await followTraining(trainer, trainer.steps, interruption, onStep)
    if (last && last.checkpoint === undefined) await reports.write()
    return last
  } catch (error) {
    throw hasBegun ? await stoppedRun(error, out) : error
  }
}

async function trainSilently(trainer: Trainer, interruption: Interruption): Promise<ExitCode> {
  let step = 0
  for await (const event of trainer) {
    step = event.step
    await interruption.breathe()
  }
  return (interruption.requested || step > 0) && step < trainer.steps ? ExitCode.interrupted : ExitCode.ok
}

/** Where another process of the group was asked to stop. */
function endedEarly(last: StepEvent | undefined, { steps }: TrainPlan): boolean {
  return last !== undefined && last.step < steps
}
