import { BackendLostError, isPhsaError, OutOfMemoryError } from '@phsa/core'
import type { DecoderModel } from '@phsa/model'
import type { Optimizer } from '../optimizer.js'
import type { TrainerPlan } from '../trainer-options.js'
import { listCheckpoints } from './checkpoint-folder.js'
import type { CheckpointPlan } from './checkpoint-options.js'
import { type PreparedCheckpoints, prepareCheckpointFolder, requireTokenizer } from './prepare-checkpoints.js'
import { pruneCheckpoints } from './prune-checkpoints.js'
import { type CheckpointContent, checkpointBytes, writeCheckpoint } from './write-checkpoint.js'

/**
 * Makes sure, before the first step, that the run's checkpoints can be written.
 * @param resumedAt step of the checkpoint that the run continues from
 * @throws InvalidConfigError naming the setting
 */
export async function prepareCheckpoints(
  { checkpoint, steps }: TrainerPlan,
  model: DecoderModel,
  optimizer: Pick<Optimizer, 'state'>,
  resumedAt: number | undefined,
): Promise<PreparedCheckpoints> {
  if (!checkpoint) return { setAside: [] }
  const { folder, every, keep, best, tokenizerFrom } = checkpoint
  const step = resumedAt ?? 0
  if (tokenizerFrom !== undefined) await requireTokenizer(tokenizerFrom, model)
  return prepareCheckpointFolder({
    folder,
    step,
    bytes: checkpointBytes(model, optimizer),
    // One is written before another is removed.
    most: keep + 1 + (best === 'validation' ? 1 : 0),
    writes: Math.ceil((steps - step) / every),
    isResumed: resumedAt !== undefined,
  })
}

/**
 * Writes a checkpoint, then removes those that need not stay.
 * @returns its folder
 * @throws InvalidFileError when it cannot be written, and what the backend throws; what was there before stays
 */
export async function saveCheckpoint(
  { folder, keep, best, tokenizerFrom, maxShardBytes }: CheckpointPlan,
  content: Omit<CheckpointContent, 'tokenizerFrom' | 'maxShardBytes'>,
): Promise<string> {
  const path = await writeCheckpoint(folder, { ...content, tokenizerFrom, maxShardBytes })
  await pruneCheckpoints(folder, { keep, best })
  return path
}

/** The error that ended a run; that of a lost or full device says besides where to go on. */
export async function whereToResume(error: unknown, checkpoint: CheckpointPlan | undefined): Promise<unknown> {
  const isLost = isPhsaError(error, 'backend-lost')
  if (!checkpoint || !(isLost || isPhsaError(error, 'out-of-memory'))) return error
  // A folder that cannot be read must not hide the error.
  const newest = (await listCheckpoints(checkpoint.folder).catch(() => [])).at(-1)
  const advice =
    newest === undefined
      ? 'No checkpoint was written yet: start again, with a smaller checkpoint.every.'
      : `Checkpoints are whole; resume from ${newest.path} to go on after step ${newest.step}.`
  const Same = isLost ? BackendLostError : OutOfMemoryError
  return new Same(`${error.message} ${advice}`, { cause: error })
}
