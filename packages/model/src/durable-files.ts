import type { FileHandle } from 'node:fs/promises'
import { nodeModule } from './node-module.js'

/** Writes a file in pieces, and waits until it is on the disk. Node only. */
export async function writeDurably(path: string, parts: Iterable<Uint8Array> | AsyncIterable<Uint8Array>): Promise<void> {
  const { open } = await nodeModule('node:fs/promises')
  const handle = await open(path, 'w')
  try {
    for await (const part of parts) await writeWhole(handle, part)
    await handle.sync()
  } finally {
    await handle.close()
  }
}

/** Waits until the names in a folder are on the disk. Windows cannot be asked for it. */
export async function syncFolder(path: string): Promise<void> {
  if (process.platform === 'win32') return
  const { open } = await nodeModule('node:fs/promises')
  const handle = await open(path, 'r')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}

async function writeWhole(handle: FileHandle, bytes: Uint8Array): Promise<void> {
  let done = 0
  while (done < bytes.length) done += (await handle.write(bytes, done, bytes.length - done)).bytesWritten
}
