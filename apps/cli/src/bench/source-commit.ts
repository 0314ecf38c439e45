import { execFile } from 'node:child_process'
import { dirname } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

/** The commit that this program's code comes from. Plain JSON. */
export interface SourceCommit {
  readonly hash: string
  /** Whether tracked files differ from it. */
  readonly uncommitted: boolean
}

/**
 * The commit of the checkout that holds this program; undefined where it was installed as a package, be it below somebody else's checkout, and
 * where there is no git.
 */
export async function sourceCommit(folder = dirname(fileURLToPath(import.meta.url))): Promise<SourceCommit | undefined> {
  const git = async (...args: string[]) => (await promisify(execFile)('git', args, { cwd: folder })).stdout.trim()
  try {
    // Only our own repository has this file at its root.
    if ((await git('ls-files', '--full-name', ':/apps/cli/src/main.ts')) === '') return undefined
    return { hash: await git('rev-parse', 'HEAD'), uncommitted: (await git('status', '--porcelain', '--untracked-files=no')) !== '' }
  } catch (error) {
    // No git, no checkout, or a folder that git does not trust: all of them mean that the commit is not known.
    if (error instanceof Error && ('code' in error || 'stderr' in error)) return undefined
    throw error
  }
}
