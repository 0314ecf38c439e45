import { dirname } from 'node:path'
import type { TrainingRecord } from '../training-record.js'
import { isCheckpoint, listCheckpoints, stepOfName } from './checkpoint-folder.js'
import { DamagedCheckpointError } from './damaged-checkpoint-error.js'
import { findCheckpoint } from './find-checkpoint.js'
import { inspectCheckpoint, type Manifest } from './manifest.js'
import { readRecord } from './read-record.js'

/** A run to go on with, where there is one. */
export interface ResumeOptions {
  /** A checkpoint's folder, or the folder of several, whose newest is taken. */
  readonly from: string
  /**
   * Where there is no checkpoint, start from the beginning and begin the log anew, instead of refusing: so the same call starts a run and goes on
   * with it, also one that was killed before its first checkpoint. Default false.
   */
  readonly orStart?: boolean
  /** Where the checkpoint is damaged, take the newest whole one before it, instead of refusing, and say so in the first event. Default false. */
  readonly orOlder?: boolean
}

/** A checkpoint that is whole, to the byte. */
export interface WholeCheckpoint {
  readonly path: string
  readonly manifest: Manifest
  readonly record: TrainingRecord
  /** What was wrong with newer ones, which were passed over. */
  readonly passedOver: readonly string[]
}

/** Whole ones that an error names: to find more takes as long as reading them. */
const NAMED = 3

/**
 * The checkpoint to go on with, every byte of it checked; undefined where there is none and `orStart` allows it.
 * @throws InvalidFileError where there is none; DamagedCheckpointError for a damaged one, naming the file and older whole ones
 */
export async function resumedCheckpoint({ from, orStart, orOlder }: ResumeOptions): Promise<WholeCheckpoint | undefined> {
  if (orStart && !(await isCheckpoint(from)) && (await listCheckpoints(from)).length === 0) return undefined
  const path = await findCheckpoint(from)
  const { manifest, damage } = await inspectCheckpoint(path)
  if (manifest) return { path, manifest, record: await readRecord(path), passedOver: [] }
  const passedOver = [damage.message]
  const found: string[] = []
  for (const older of await olderThan(path)) {
    const { manifest, damage } = await inspectCheckpoint(older)
    if (damage) passedOver.push(damage.message)
    else if (orOlder) return { path: older, manifest, record: await readRecord(older), passedOver }
    else found.push(older)
    if (found.length === NAMED) break
  }
  const remedy =
    found.length > 0
      ? `Older checkpoints that are whole: ${found.join(', ')}. Resume from one of them, or with orOlder (--or-older of phsa train) from the newest of them.`
      : 'No older checkpoint beside it is whole; start anew, from a model folder if there is one.'
  throw new DamagedCheckpointError(path, `${damage.message} ${remedy}`, { cause: damage })
}

/** Checkpoints beside this one with fewer steps, newest first. */
async function olderThan(path: string): Promise<string[]> {
  const step = stepOfName(path)
  if (step === undefined) return []
  const found = await listCheckpoints(dirname(path))
  return found.flatMap((other) => (other.step < step ? [other.path] : [])).reverse()
}
