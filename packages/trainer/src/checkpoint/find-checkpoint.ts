import { InvalidFileError } from '@phsa/core'
import { bestCheckpoint } from './best-checkpoint.js'
import { checkpointName, isCheckpoint, listCheckpoints, RECORD_FILE } from './checkpoint-folder.js'

/** Which checkpoint of several: the newest, or the one that did best on the held-out text. */
export type CheckpointChoice = 'newest' | 'best'

/**
 * The checkpoint that a path means: itself, or the newest one in it, or its best. The best has the lowest validation loss among those that were
 * measured with the newest one's topK: loss under another attention says something else.
 * @throws InvalidFileError when there is none, or for `best` none that was measured
 */
export async function findCheckpoint(path: string, which: CheckpointChoice = 'newest'): Promise<string> {
  const isOne = await isCheckpoint(path)
  const newest = isOne ? path : (await listCheckpoints(path)).at(-1)?.path
  if (newest === undefined) {
    throw new InvalidFileError(
      `${path} is no checkpoint and holds none: there is neither ${RECORD_FILE} nor a folder like ${checkpointName(500)}. Give another folder; to start a run where there is none yet, resume with orStart.`,
    )
  }
  if (which === 'newest' || isOne) return newest
  const best = await bestCheckpoint(path)
  if (best !== undefined) return best.path
  throw new InvalidFileError(
    `no checkpoint of ${path} has a validation loss; set validation, with an every that checkpoint.every is a multiple of, or take the newest one.`,
  )
}
