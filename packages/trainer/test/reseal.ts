import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { HashedFiles } from '../src/checkpoint/hashed-files.js'
import { MANIFEST_FILE } from '../src/checkpoint/manifest.js'

/** Lists the files of a checkpoint as they are now, as if it had been written like that. */
export async function reseal(checkpoint: string): Promise<void> {
  const files = new HashedFiles()
  for (const name of await readdir(checkpoint)) {
    if (name !== MANIFEST_FILE) await files.write(join(checkpoint, name), [await readFile(join(checkpoint, name))])
  }
  await files.writeManifest(checkpoint)
}
