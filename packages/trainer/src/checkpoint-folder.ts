import { mkdir, open, readdir, rename, rm, stat, statfs, writeFile } from 'node:fs/promises'
import { dirname, join, resolve } from 'node:path'
import { InvalidConfigError, InvalidFileError } from '@phsa/core'

/** The file that makes a folder a checkpoint; written last. */
export const RECORD_FILE = 'trainer.json'

/** Half-written checkpoints and half-removed ones; names that no list of checkpoints has. */
const LEFTOVER = /^\.step-\d+\.(tmp|old)/

/** A checkpoint in a folder of several. */
export interface FoundCheckpoint {
  readonly step: number
  readonly path: string
}

/** Folder name of the checkpoint after a number of steps: step-00000500. */
export function checkpointName(step: number): string {
  return `step-${String(step).padStart(8, '0')}`
}

/**
 * Complete checkpoints of a folder, oldest first; none where the folder is missing.
 * @throws InvalidFileError for what is no folder, or cannot be read
 */
export async function listCheckpoints(folder: string): Promise<FoundCheckpoint[]> {
  const names = await readdir(folder).catch((cause: NodeJS.ErrnoException) => {
    if (cause.code === 'ENOENT') return []
    throw new InvalidFileError(
      `${folder} cannot be read as a folder of checkpoints (${cause.message}); give the folder of a checkpoint, or of several.`,
      { cause },
    )
  })
  const found = names.flatMap((name) => {
    const step = /^step-(\d{8,})$/.exec(name)?.[1]
    return step === undefined ? [] : [{ step: Number(step), path: join(folder, name) }]
  })
  return found.sort((left, right) => left.step - right.step)
}

/**
 * The checkpoint that a path means: itself, or the newest one in it.
 * @throws InvalidFileError when there is none
 */
export async function findCheckpoint(path: string): Promise<string> {
  const found = await newestCheckpoint(path)
  if (found !== undefined) return found
  throw new InvalidFileError(
    `${path} is no checkpoint and holds none: there is neither ${RECORD_FILE} nor a folder like ${checkpointName(500)}. Start without resume, resume with orStart to start where there is none yet, or give another folder.`,
  )
}

/** The checkpoint that a path means: itself, or the newest one in it; undefined where there is none. */
export async function newestCheckpoint(path: string): Promise<string | undefined> {
  if (await exists(join(path, RECORD_FILE))) return path
  return (await listCheckpoints(path)).at(-1)?.path
}

/**
 * Makes sure, before the first step, that checkpoints can be written: the folder can be made and written to, has room, and holds no later
 * checkpoint of another run. Leftovers of a killed write are removed.
 * @param step step that the run starts from
 * @param bytes what the checkpoints of the run will take
 * @throws InvalidConfigError
 */
export async function prepareCheckpointFolder(folder: string, step: number, bytes: number): Promise<void> {
  const probe = join(folder, `.probe-${process.pid}`)
  try {
    await makeFolder(folder)
    await writeFile(probe, 'probe')
    await rm(probe)
  } catch (cause) {
    throw new InvalidConfigError(
      'checkpoint.folder',
      `checkpoints cannot be written to ${folder} (${(cause as Error).message}); give a folder that can be made and written to.`,
      { cause },
    )
  }
  const later = (await listCheckpoints(folder)).find((found) => found.step > step)
  if (later) {
    throw new InvalidConfigError(
      'checkpoint.folder',
      `${folder} already holds ${checkpointName(later.step)}, but this run starts at step ${step}; resume from that folder, or give an empty one.`,
    )
  }
  for (const name of await readdir(folder)) {
    if (LEFTOVER.test(name)) await rm(join(folder, name), { recursive: true })
  }
  const { bavail, bsize } = await statfs(folder)
  if (bavail * bsize < bytes) {
    throw new InvalidConfigError(
      'checkpoint.folder',
      `the disk of ${folder} has ${megabytes(bavail * bsize)} free, the checkpoints of this run take about ${megabytes(bytes)}; free some space, keep fewer or give another folder.`,
    )
  }
}

/**
 * Makes sure, before the first step, that there is a tokenizer to copy into each checkpoint.
 * @throws InvalidConfigError
 */
export async function requireTokenizer(folder: string): Promise<void> {
  if (await exists(join(folder, 'tokenizer.json'))) return
  throw new InvalidConfigError(
    'checkpoint.tokenizerFrom',
    `${folder} has no tokenizer.json to copy into the checkpoints; give a folder with one, or leave tokenizerFrom out.`,
  )
}

/** Removes all but the newest checkpoints. Each loses its name first, so that a kill leaves no half-removed one under it. */
export async function pruneCheckpoints(folder: string, keep: number): Promise<void> {
  for (const { path, step } of (await listCheckpoints(folder)).slice(0, -keep)) {
    const doomed = join(folder, `.${checkpointName(step)}.old`)
    await rename(path, doomed)
    await rm(doomed, { recursive: true })
  }
}

/** Flushes a file, or a folder's entries, to the disk. */
export async function syncToDisk(path: string): Promise<void> {
  // Windows cannot open folders; there a rename is journalled by the file system.
  if (process.platform === 'win32' && (await stat(path)).isDirectory()) return
  const handle = await open(path, 'r+').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'EISDIR') return open(path, 'r')
    throw error
  })
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}

/** Makes a folder and those above it, and flushes their entries: a checkpoint is safe only where all of its path is. */
async function makeFolder(folder: string): Promise<void> {
  const first = await mkdir(folder, { recursive: true })
  if (first === undefined) return
  let parent = resolve(folder)
  do {
    parent = dirname(parent)
    await syncToDisk(parent)
  } while (parent !== dirname(resolve(first)))
}

async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    (error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT' || error.code === 'ENOTDIR') return false
      throw error
    },
  )
}

function megabytes(bytes: number): string {
  return `${Math.ceil(bytes / 2 ** 20)} MiB`
}
