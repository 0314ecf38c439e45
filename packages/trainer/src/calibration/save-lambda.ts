import { constants, existsSync } from 'node:fs'
import { copyFile, mkdir, open, readdir, readFile, rename, rm } from 'node:fs/promises'
import { dirname, join, resolve } from 'node:path'
import { InvalidConfigError, InvalidFileError, type PhsaConfig } from '@phsa/core'
import { isCheckpoint } from '../checkpoint/checkpoint-folder.js'

/** Where the configuration with new lambdas goes. */
export interface SaveLambdaOptions {
  /** A folder that is not there yet: becomes a copy of the model with them; the model's own folder stays as it is. */
  readonly out?: string
}

/** The configuration before the last `saveLambda`, beside the new one. */
export const PREVIOUS_CONFIG = 'config.before-calibration.json'

/**
 * Writes lambdas into `phsa` of a model folder's config.json, under a temporary name that is flushed and then moved: a reader sees the old file or the new
 * one. The old one stays as config.before-calibration.json.
 * @param phsa what the model was loaded with: settings that the file leaves to defaults are written out
 * @param lambda [layers][Hkv]
 * @returns the file that was written
 * @throws InvalidFileError for a folder without a config.json of JSON; InvalidConfigError for an `out` that is there already, and for a checkpoint
 */
export async function saveLambda(
  folder: string,
  phsa: PhsaConfig,
  lambda: readonly (readonly number[])[],
  { out }: SaveLambdaOptions = {},
): Promise<string> {
  await requireNoCheckpoint(folder)
  const { json, text } = await readConfig(folder)
  const written = `${JSON.stringify({ ...json, phsa: { ...phsa, lambda } }, undefined, 2)}\n`
  if (out !== undefined) {
    await copyModel(folder, resolve(out), written)
    return join(out, 'config.json')
  }
  await replaceFile(folder, PREVIOUS_CONFIG, text)
  await replaceFile(folder, 'config.json', written)
  return join(folder, 'config.json')
}

/**
 * A checkpoint lists its files with their hashes: with another config.json no run would resume from it.
 * @throws InvalidConfigError for the folder of one
 */
export async function requireNoCheckpoint(folder: string): Promise<void> {
  if (!(await isCheckpoint(folder))) return
  throw new InvalidConfigError(
    'folder',
    `${folder} is a checkpoint of a training run, which a changed config.json would damage; export it (phsa export) and give the exported folder.`,
  )
}

async function readConfig(folder: string): Promise<{ json: Record<string, unknown>; text: string }> {
  const path = join(folder, 'config.json')
  try {
    const text = await readFile(path, 'utf8')
    return { json: JSON.parse(text), text }
  } catch (cause) {
    throw new InvalidFileError(`${path}: it cannot be read as JSON (${(cause as Error).message}); give the folder of a model.`, { cause })
  }
}

async function replaceFile(folder: string, name: string, text: string): Promise<void> {
  const temporary = join(folder, `.${name}.${process.pid}.tmp`)
  try {
    await writeFlushed(temporary, text)
    await rename(temporary, join(folder, name))
  } catch (error) {
    await rm(temporary, { force: true })
    throw error
  }
}

/** The files of a model's folder under a new name, with another configuration; whole or not at all. */
async function copyModel(folder: string, target: string, config: string): Promise<void> {
  if (existsSync(target)) throw new InvalidConfigError('out', `${target} is there already; give the name of a folder that is not.`)
  const temporary = `${target}.${process.pid}.partial`
  await mkdir(dirname(target), { recursive: true })
  await mkdir(temporary)
  try {
    const entries = await readdir(folder, { withFileTypes: true })
    // A snapshot of a model hub is made of links; what they lead to is copied.
    const names = entries.filter((entry) => !entry.isDirectory() && entry.name !== 'config.json').map(({ name }) => name)
    // The file systems that can share the blocks of a copy do.
    for (const name of names) await copyFile(join(folder, name), join(temporary, name), constants.COPYFILE_FICLONE)
    await writeFlushed(join(temporary, 'config.json'), config)
    await rename(temporary, target)
  } catch (error) {
    await rm(temporary, { recursive: true, force: true })
    throw error
  }
}

async function writeFlushed(path: string, text: string): Promise<void> {
  const handle = await open(path, 'w')
  try {
    await handle.writeFile(text)
    await handle.sync()
  } finally {
    await handle.close()
  }
}
