import { createHash } from 'node:crypto'
import { type FileHandle, open } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { type FileDigest, MANIFEST_FILE, manifestJson } from './manifest.js'

/** Writes the files of one folder, each hashed while it is written. */
export class HashedFiles {
  readonly #digests = new Map<string, FileDigest>()

  /** Writes a file from its pieces and waits until it is on the disk. Hashing a piece takes place while the system writes it. */
  readonly write = async (path: string, parts: Iterable<Uint8Array> | AsyncIterable<Uint8Array>): Promise<void> => {
    const hash = createHash('sha256')
    let bytes = 0
    const handle = await open(path, 'w')
    try {
      for await (const part of parts) {
        const written = writeWhole(handle, part)
        hash.update(part)
        bytes += part.length
        await written
      }
      await handle.sync()
    } finally {
      await handle.close()
    }
    this.#digests.set(basename(path), { bytes, sha256: hash.digest('hex') })
  }

  async writeJson(path: string, json: object): Promise<void> {
    await this.write(path, [new TextEncoder().encode(`${JSON.stringify(json, undefined, 2)}\n`)])
  }

  /** Writes the list of all files so far; the last one of a folder. */
  async writeManifest(folder: string): Promise<void> {
    await this.writeJson(join(folder, MANIFEST_FILE), manifestJson(this.#digests))
  }
}

async function writeWhole(handle: FileHandle, bytes: Uint8Array): Promise<void> {
  let done = 0
  while (done < bytes.length) done += (await handle.write(bytes, done, bytes.length - done)).bytesWritten
}
