import type { FileHandle } from 'node:fs/promises'
import { InvalidFileError } from '@phsa/core'
import type { ModelFiles } from './model-files.js'

/** Most bytes of one read call; the operating system takes less than 2 GiB at once. */
const READ_BYTES = 256 * 1024 * 1024

/** The files of a folder on disk, read through open handles, so that only what is asked for is in memory. */
export async function folderFiles(folder: string): Promise<ModelFiles> {
  // Imported here so that bundles for browsers, which bring other files, need no Node modules.
  const { open } = await import('node:fs/promises')
  const { join } = await import('node:path')
  const handles = new Map<string, FileHandle>()

  const handleOf = async (name: string): Promise<FileHandle> => {
    const known = handles.get(name)
    if (known) return known
    const handle = await open(join(folder, name), 'r')
    handles.set(name, handle)
    return handle
  }

  return {
    label: folder,
    async size(name) {
      try {
        return (await (await handleOf(name)).stat()).size
      } catch (error) {
        if (isMissing(error)) return undefined
        throw error
      }
    },
    async read(name, begin, end) {
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
