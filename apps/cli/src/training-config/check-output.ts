import { stat, statfs } from 'node:fs/promises'
import { join } from 'node:path'
import { listCheckpoints } from '@phsa/trainer'
import { requireFolder } from '../files/prepare-folder.js'
import { formatBytes } from '../terminal/format.js'
import { checkpointFolder, RUN_LOG } from '../training/run-files.js'
import { UsageError } from '../usage-error.js'
import { checkpointBytes } from './memory-estimate.js'
import type { TrainConfig } from './train-config.js'
import { type ModelPlan, plannedSteps } from './train-plan.js'

/**
 * Finds what the trainer would refuse of the output folder at its start: before the text is tokenized, which can take minutes. Makes nothing.
 * @param model undefined where it is not known: then the room on the disk is not looked at
 * @throws UsageError; InvalidFileError where the checkpoints cannot be listed
 */
export async function checkOutput(config: TrainConfig, model: ModelPlan | undefined): Promise<void> {
  const { out, run } = config
  const present = await requireFolder(out)
  const checkpoints = checkpointFolder(out)
  if (run.start === 'resume') await requireCheckpoint(checkpoints)
  if (run.start === 'new') await requireNewFolder(out)
  if (!model) return
  const { bavail, bsize } = await statfs(present)
  const needed = newCheckpoints(config, await listCheckpoints(checkpoints)) * checkpointBytes(config, model)
  if (bavail * bsize >= needed) return
  throw new UsageError(
    `the disk of ${out} has ${formatBytes(bavail * bsize)} free, the checkpoints of this run take ${formatBytes(needed)}; free some space, set checkpoint.keep lower, or give another out.`,
  )
}

async function requireCheckpoint(checkpoints: string): Promise<void> {
  if ((await listCheckpoints(checkpoints)).length > 0) return
  throw new UsageError(
    `${checkpoints} holds no checkpoint to resume; start with --resume-or-start (run.start: resume-or-start), or give the out of a run that has saved one.`,
  )
}

/** Checkpoints that there will be at once besides those that are there, counted as the trainer counts them. */
function newCheckpoints(config: TrainConfig, found: readonly { readonly step: number }[]): number {
  const { every, keep, best = config.validation ? 'validation' : 'none' } = config.checkpoint
  // One more than are kept, while the oldest still lies there.
  const most = keep + 1 + (best === 'validation' ? 1 : 0)
  const writes = Math.ceil((plannedSteps(config) - (found.at(-1)?.step ?? 0)) / every)
  return Math.min(Math.max(1, most - found.length), writes)
}

async function requireNewFolder(out: string): Promise<void> {
  const checkpoints = checkpointFolder(out)
  if ((await listCheckpoints(checkpoints)).length > 0) {
    throw new UsageError(
      `${checkpoints} holds checkpoints of an earlier run; continue it with --resume (run.start: resume), or give another out.`,
    )
  }
  const log = join(out, RUN_LOG)
  if (!(await isFilled(log))) return
  throw new UsageError(
    `${log} holds the steps of a run that left no checkpoint; start it again with --resume-or-start (run.start: resume-or-start), which begins a new log, or give another out.`,
  )
}

async function isFilled(path: string): Promise<boolean> {
  try {
    return (await stat(path)).size > 0
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false
    throw error
  }
}
