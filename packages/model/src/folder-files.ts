import type { BigIntStats } from 'node:fs'
import type { FileHandle } from 'node:fs/promises'
import { InvalidFileError, isPhsaError } from '@phsa/core'
import type { ModelFiles } from './model-files.js'
import { nodeModule } from './node-module.js'

/** Most bytes of one read call; the operating system takes less than 2 GiB at once. */
const READ_BYTES = 256 * 1024 * 1024

/** The files of a folder on disk, read through open handles, so that only what is asked for is in memory. @throws InvalidFileError, in its methods */
export async function folderFiles(folder: string): Promise<ModelFiles> {
  const { open, stat } = await nodeModule('node:fs/promises')
  const { join } = await nodeModule('node:path')
  const handles = new Map<string, FileHandle>()

  /** Undefined where there is none of that name. */
  const statOf = async (name: string): Promise<BigIntStats | undefined> => {
    try {
      return await stat(join(folder, name), { bigint: true })
    } catch (error) {
      if (isMissing(error)) return undefined
      throw error
    }
  }

  const handleOf = async (name: string): Promise<FileHandle> => {
    const known = handles.get(name)
    if (known) return known
    const handle = await open(join(folder, name), 'r')
    handles.set(name, handle)
    return handle
  }

  const named = async <T>(name: string, run: () => Promise<T>): Promise<T> => {
    try {
      return await run()
    } catch (cause) {
      if (isPhsaError(cause)) throw cause
      throw new InvalidFileError(`${join(folder, name)}: it cannot be read (${(cause as Error).message}).`, { cause })
    }
  }

  return {
    label: folder,
    size: (name) =>
      named(name, async () => {
        const found = await statOf(name)
        if (found === undefined) return undefined
        // Asked before it is opened: opening a pipe would wait for its writer.
        if (!found.isFile()) throw new InvalidFileError(`${join(folder, name)}: it is no file.`)
        return (await (await handleOf(name)).stat()).size
      }),
    read: (name, begin, end) =>
      named(name, async () => {
        const handle = await handleOf(name)
        const bytes = new Uint8Array(end - begin)
        let filled = 0
        while (filled < bytes.length) {
          const { bytesRead } = await handle.read(bytes, filled, Math.min(READ_BYTES, bytes.length - filled), begin + filled)
          if (bytesRead === 0) {
            throw new InvalidFileError(`${join(folder, name)}: it ended at byte ${begin + filled} while bytes up to ${end} were read.`)
          }
          filled += bytesRead
        }
        return bytes
      }),
    async requireUnchanged() {
      for (const [name, handle] of handles) {
        await named(name, async () => {
          const opened = await handle.stat({ bigint: true })
          const now = await statOf(name)
          if (now?.ino === opened.ino) return
          throw new InvalidFileError(`${join(folder, name)}: it was replaced while the folder was read; load it again once it is written.`)
        })
      }
    },
    async close() {
      for (const handle of handles.values()) await handle.close()
      handles.clear()
    },
  }
}

function isMissing(error: unknown): boolean {
  return error instanceof Error && 'code' in error && (error.code === 'ENOENT' || error.code === 'ENOTDIR')
}
