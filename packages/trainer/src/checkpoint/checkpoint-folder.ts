import { readdir } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { InvalidFileError } from '@phsa/core'
import { exists } from './sync-to-disk.js'

/** The file that says where a run stood. */
export const RECORD_FILE = 'trainer.json'

/** Half-written checkpoints and half-removed ones; names that no list of checkpoints has. */
export const LEFTOVER = /^\.step-\d+\.(tmp|old)/

const NAME = /^step-(\d{8,})$/

/** A checkpoint in a folder of several. */
export interface FoundCheckpoint {
  readonly step: number
  readonly path: string
}

/** Folder name of the checkpoint after a number of steps: step-00000500. */
export function checkpointName(step: number): string {
  return `step-${String(step).padStart(8, '0')}`
}

/** Steps of a checkpoint by its folder's name; undefined for another name. */
export function stepOfName(path: string): number | undefined {
  const step = NAME.exec(basename(path))?.[1]
  return step === undefined ? undefined : Number(step)
}

/**
 * Complete checkpoints of a folder, oldest first; none where the folder is missing.
 * @throws InvalidFileError for what is no folder, or cannot be read
 */
export async function listCheckpoints(folder: string): Promise<FoundCheckpoint[]> {
  const entries = await readdir(folder, { withFileTypes: true }).catch((cause: NodeJS.ErrnoException) => {
    if (cause.code === 'ENOENT') return []
    throw new InvalidFileError(
      `${folder} cannot be read as a folder of checkpoints (${cause.message}); give the folder of a checkpoint, or of several.`,
      { cause },
    )
  })
  const found = entries.flatMap((entry) => {
    const step = stepOfName(entry.name)
    return step === undefined || entry.isFile() ? [] : [{ step, path: join(folder, entry.name) }]
  })
  return found.sort((left, right) => left.step - right.step)
}

/** Whether a path is a checkpoint's own folder, also one that has lost its record. */
export async function isCheckpoint(path: string): Promise<boolean> {
  return (await exists(join(path, RECORD_FILE))) || (stepOfName(path) !== undefined && (await exists(path)))
}
