import { randomUUID } from 'node:crypto'
import { mkdir, readdir, rm } from 'node:fs/promises'
import { hostname } from 'node:os'
import { basename, dirname, join, resolve } from 'node:path'

/**
 * Makes a hidden folder beside the one that it will be renamed to, on the same file system therefore. Those that killed processes of this
 * host left are removed.
 * @throws errors of the file system
 */
export async function makeTemporaryFolder(target: string): Promise<string> {
  const parent = dirname(resolve(target))
  await mkdir(parent, { recursive: true })
  const prefix = `.${basename(target)}.tmp-${hostname()}-`
  for (const name of await readdir(parent)) {
    const owner = name.startsWith(prefix) ? /^(\d+)-/.exec(name.slice(prefix.length))?.[1] : undefined
    if (owner !== undefined && !isAlive(Number(owner))) await rm(join(parent, name), { recursive: true, force: true })
  }
  const folder = join(parent, `${prefix}${process.pid}-${randomUUID().slice(0, 8)}`)
  await mkdir(folder)
  return folder
}

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0)
  } catch (error) {
    // Another user's process may not be signalled, but it is there.
    if ((error as NodeJS.ErrnoException).code === 'EPERM') return true
    if ((error as NodeJS.ErrnoException).code === 'ESRCH') return false
    throw error
  }
}
