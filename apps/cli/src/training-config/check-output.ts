import { stat, statfs } from 'node:fs/promises'
import { join } from 'node:path'
import { findCheckpoint, listCheckpoints } from '@phsa/trainer'
import { prepareFolder } from '../files/prepare-folder.js'
import { formatBytes } from '../terminal/format.js'
import { checkpointFolder, RUN_LOG } from '../training/run-files.js'
import { UsageError } from '../usage-error.js'
import { checkpointBytes } from './memory-estimate.js'
import type { TrainConfig } from './train-config.js'
import type { ModelPlan } from './train-plan.js'

/**
 * Makes the output folder, and finds what the trainer would refuse there at its start: before the text is tokenized, which can take minutes.
 * @param model undefined where it is not known: then the room on the disk is not looked at
 * @throws UsageError; InvalidFileError where there is no checkpoint to resume
 */
export async function checkOutput(config: TrainConfig, model: ModelPlan | undefined): Promise<void> {
  const { out, run, checkpoint } = config
  await prepareFolder(out)
  const checkpoints = checkpointFolder(out)
  if (run.start === 'resume') await findCheckpoint(checkpoints)
  if (run.start === 'new') await requireNewFolder(out)
  if (!model) return
  const { bavail, bsize } = await statfs(out)
  const present = (await listCheckpoints(checkpoints)).length
  // One more than are kept, while the oldest still lies there.
  const needed = Math.max(1, checkpoint.keep + 1 - present) * checkpointBytes(config, model)
  if (bavail * bsize >= needed) return
  throw new UsageError(
    `the disk of ${out} has ${formatBytes(bavail * bsize)} free, the checkpoints of this run take ${formatBytes(needed)}; free some space, set checkpoint.keep lower, or give another out.`,
  )
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
