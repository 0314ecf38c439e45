import { mkdir, readdir, rename, rm, statfs } from 'node:fs/promises'
import { basename, dirname, join, resolve } from 'node:path'
import { InvalidConfigError, isPhsaError } from '@phsa/core'
import { type DecoderModel, TextTokenizer } from '@phsa/model'
import { checkpointName, LEFTOVER, listCheckpoints } from './checkpoint-folder.js'
import { inspectCheckpoint } from './manifest.js'
import { RunClaim } from './run-claim.js'
import { exists, syncToDisk } from './sync-to-disk.js'

/** What a run will write, before it does. */
export interface PlannedCheckpoints {
  readonly folder: string
  /** Step that the run starts from. */
  readonly step: number
  /** What one checkpoint takes. */
  readonly bytes: number
  /** Checkpoints that are there at once. */
  readonly most: number
  /** Checkpoints that the run will write. */
  readonly writes: number
  /** Whether the run continues from a checkpoint: then later ones that are damaged are set aside, under another name. */
  readonly isResumed: boolean
}

/** A folder that is ready for a run's checkpoints. */
export interface PreparedCheckpoints {
  /** The right to write there, where checkpoints are written. */
  readonly claim?: RunClaim
  /** A sentence for each damaged checkpoint: what it is called now. */
  readonly setAside: readonly string[]
}

/**
 * Makes sure, before the first step, that checkpoints can be written: the folder can be made and written to, has room, and holds no later
 * whole checkpoint, nor another run that is going on. Leftovers of a killed write are removed.
 * @throws InvalidConfigError
 */
export async function prepareCheckpointFolder(planned: PlannedCheckpoints): Promise<PreparedCheckpoints> {
  const claim = await claimFolder(planned.folder)
  try {
    return { claim, setAside: await clearFolder(planned) }
  } catch (error) {
    await claim.release()
    throw error
  }
}

async function claimFolder(folder: string): Promise<RunClaim> {
  try {
    await makeFolder(folder)
    return await RunClaim.take(folder)
  } catch (cause) {
    if (isPhsaError(cause)) throw cause
    throw new InvalidConfigError(
      'checkpoint.folder',
      `checkpoints cannot be written to ${folder} (${(cause as Error).message}); give a folder that can be made and written to.`,
      { cause },
    )
  }
}

async function clearFolder({ folder, step, bytes, most, writes, isResumed }: PlannedCheckpoints): Promise<readonly string[]> {
  const setAside = await clearWay(folder, step, isResumed)
  for (const name of await readdir(folder)) {
    if (LEFTOVER.test(name)) await rm(join(folder, name), { recursive: true })
  }
  // Those that are there make room, one after the other.
  const needed = bytes * Math.min(Math.max(1, most - (await listCheckpoints(folder)).length), writes)
  const { bavail, bsize } = await statfs(folder)
  if (bavail * bsize < needed) {
    throw new InvalidConfigError(
      'checkpoint.folder',
      `the disk of ${folder} has ${Math.floor((bavail * bsize) / 2 ** 20)} MiB free, the checkpoints of this run take about ${megabytes(needed)} more; free some space, keep fewer or give another folder.`,
    )
  }
  return setAside
}

/**
 * Makes sure, before the first step, that there is a tokenizer to copy into each checkpoint, and that it belongs to the model: together they must load.
 * @throws InvalidConfigError; InvalidFileError for what is no tokenizer
 */
export async function requireTokenizer(folder: string, { config }: DecoderModel): Promise<void> {
  if (!(await exists(join(folder, 'tokenizer.json')))) {
    throw new InvalidConfigError(
      'checkpoint.tokenizerFrom',
      `${folder} has no tokenizer.json to copy into the checkpoints; give a folder with one, or leave tokenizerFrom out.`,
    )
  }
  const { vocabSize } = await TextTokenizer.fromFolder(folder)
  if (vocabSize <= config.vocabSize) return
  throw new InvalidConfigError(
    'checkpoint.tokenizerFrom',
    `the tokenizer of ${folder} has ids up to ${vocabSize - 1}, this model takes 0 to ${config.vocabSize - 1}: checkpoints with both would not load; give the model's own tokenizer, or leave tokenizerFrom out.`,
  )
}

/** Checkpoints past the start would be written again: whole ones are somebody's work, damaged ones are kept under a name that is no checkpoint's. */
async function clearWay(folder: string, step: number, isResumed: boolean): Promise<string[]> {
  const later = (await listCheckpoints(folder)).filter((found) => found.step > step)
  for (const { path, step: taken } of later) {
    if (isResumed && (await inspectCheckpoint(path)).damage) continue
    throw new InvalidConfigError(
      'checkpoint.folder',
      `${folder} already holds ${checkpointName(taken)}, but this run starts at step ${step}; resume from that folder, or give an empty one.`,
    )
  }
  const setAside: string[] = []
  for (const { path, step: taken } of later) {
    const name = await freeName(join(folder, `damaged-${checkpointName(taken)}`))
    await rename(path, name)
    setAside.push(`${path} is damaged and was renamed to ${basename(name)}.`)
  }
  if (later.length > 0) await syncToDisk(folder)
  return setAside
}

async function freeName(name: string): Promise<string> {
  let free = name
  for (let number = 2; await exists(free); number++) free = `${name}-${number}`
  return free
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

function megabytes(bytes: number): string {
  return `${Math.ceil(bytes / 2 ** 20)} MiB`
}
