import { open, stat } from 'node:fs/promises'

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

/** Whether there is a file or folder of this path. */
export async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    (error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT' || error.code === 'ENOTDIR') return false
      throw error
    },
  )
}
