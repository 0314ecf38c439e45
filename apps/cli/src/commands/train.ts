import { type AttentionSpec, attentionSpec, PHSA_4K } from '@phsa/core'
import { withBackend } from '../backends.js'
import { ExitCode } from '../exit-code.js'
import { interruptible } from '../interruption.js'
import { launchRanks } from '../launch/launch-ranks.js'
import { isFirstRank, ranksToLaunch } from '../launch/rank-place.js'
import { reportJson } from '../report-json.js'
import { configText, describeFigures, planFigures } from '../training/describe-plan.js'
import { openData } from '../training/open-data.js'
import { trainRun } from '../training/train-run.js'
import type { TrainFlags } from '../training-config/flag-settings.js'
import { resolveRun } from '../training-config/resolve-config.js'
import type { TrainConfig } from '../training-config/train-config.js'
import type { TrainPlan } from '../training-config/train-plan.js'

/** What `phsa train` does besides training. */
export interface TrainCommandOptions {
  readonly check?: boolean
  readonly json?: boolean
}

/**
 * Trains as a configuration file says, or on texts, and saves a model folder; an interrupted run leaves a checkpoint that `--resume` continues.
 * @param files one configuration, or data
 * @param flags options that come before what the configuration says
 */
export async function runTrain(
  files: readonly string[],
  flags: TrainFlags,
  { check = false, json = false }: TrainCommandOptions,
): Promise<ExitCode> {
  const { plan, notes } = await resolveRun(files, flags, probeBackend)
  if (isFirstRank(process.env)) for (const note of notes) process.stderr.write(`${note}\n`)
  if (check) return checkOnly(plan, json)
  const ranks = ranksToLaunch(plan.config.gpus, process.env)
  return ranks === 1 ? interruptible((interruption) => trainRun(plan, interruption, json)) : launch(plan, ranks)
}

async function checkOnly(plan: TrainPlan, json: boolean): Promise<ExitCode> {
  const { name, device } = await withBackend(
    plan.config.backend,
    async (backend) => ({ name: backend.name, device: backend.device }),
    plan.model.spec,
  )
  const figures = planFigures(plan, `${name} (${device})`)
  process.stdout.write(json ? reportJson({ ...figures, config: plan.config }) : `${configText(plan)}\n${describeFigures(figures)}\n`)
  return ExitCode.ok
}

/** The same command once for each GPU, after the data has been tokenized once for all of them. */
async function launch(plan: TrainPlan, size: number): Promise<ExitCode> {
  // What is missing should be known before hours of tokenizing.
  await withBackend('cuda', async () => {}, plan.model.spec)
  const isReady = await interruptible(async (interruption) => {
    try {
      const { close } = await openData(plan, interruption.signal)
      close()
      return true
    } catch (error) {
      if (!interruption.caused(error)) throw error
      return false
    }
  })
  if (!isReady) return ExitCode.interrupted
  const args = [...process.execArgv, ...process.argv.slice(1)]
  return (await launchRanks({ command: process.execPath, args, size })) as ExitCode
}

/** Whether a configuration's backend works here and has its element type, where problems elsewhere keep the whole from being planned. */
async function probeBackend({ backend, dtype }: TrainConfig): Promise<void> {
  const spec: AttentionSpec = attentionSpec(PHSA_4K, { heads: 4, kvHeads: 2, headDim: 32, dtype })
  await withBackend(backend, async () => {}, spec)
}
