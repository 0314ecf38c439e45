import { mkdir, rm, stat, writeFile } from 'node:fs/promises'
import { dirname, join, resolve } from 'node:path'
import { UsageError } from '../usage-error.js'

/**
 * Makes a folder with all that it lies in and makes sure that files can be written there: before hours of work, not after.
 * @throws UsageError naming the folder that does not take it
 */
export async function prepareFolder(folder: string): Promise<void> {
  await makeFolder(resolve(folder))
  await requireFiles(folder)
}

/**
 * Finds whether `prepareFolder` would work, and makes nothing.
 * @returns the folder itself, or the innermost one around it that is there
 * @throws UsageError naming the folder that does not take it
 */
export async function requireFolder(folder: string): Promise<string> {
  const present = await presentFolder(resolve(folder))
  await requireFiles(present)
  return present
}

async function requireFiles(folder: string): Promise<void> {
  const probe = join(folder, `.phsa-probe-${process.pid}`)
  try {
    await writeFile(probe, '')
    await rm(probe)
  } catch (cause) {
    throw refusal(folder, 'takes no files', cause)
  }
}

/**
 * Makes sure that a file can be written, and makes its folder.
 * @throws UsageError when it is a folder, or its folder cannot be made or written to
 */
export async function prepareFile(path: string): Promise<void> {
  if ((await kindOf(path)) === 'folder') throw new UsageError(`${path} is a folder; give a file.`)
  await prepareFolder(dirname(path))
}

/** Level by level: Node's own recursive mkdir never ends on file systems that refuse new folders as "not found", such as /proc. */
async function makeFolder(folder: string): Promise<void> {
  if ((await presentFolder(folder)) === folder) return
  const parent = dirname(folder)
  await makeFolder(parent)
  try {
    await mkdir(folder)
  } catch (cause) {
    // Another process may have made it meanwhile.
    if ((await kindOf(folder)) !== 'folder') throw refusal(parent, 'takes no folders', cause)
  }
}

/** The folder, or the innermost one around it that is there. @param folder absolute */
async function presentFolder(folder: string): Promise<string> {
  const kind = await kindOf(folder)
  if (kind === 'folder') return folder
  if (kind === 'file') throw new UsageError(`${folder} exists already and is no folder; give another --out.`)
  const parent = dirname(folder)
  if (parent === folder) throw new UsageError(`${folder} does not exist; give --out on a drive that does.`)
  return presentFolder(parent)
}

async function kindOf(path: string): Promise<'folder' | 'file' | undefined> {
  try {
    return (await stat(path)).isDirectory() ? 'folder' : 'file'
  } catch (error) {
    if (['ENOENT', 'ENOTDIR'].includes((error as NodeJS.ErrnoException).code ?? '')) return undefined
    throw error
  }
}

function refusal(folder: string, complaint: string, cause: unknown): UsageError {
  const reason = (cause as NodeJS.ErrnoException).code ?? String(cause)
  return new UsageError(`${folder} ${complaint} (${reason}); give --out a place that can be written to.`, { cause })
}
