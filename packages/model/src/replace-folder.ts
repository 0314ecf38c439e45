import { syncFolder } from './durable-files.js'

/** The file without which a folder is no model: `loadModel` reads it first. */
export const CONFIG_FILE = 'config.json'

/** Files of an earlier save that would count although a later one does not have them. */
const STALE = /^(model(-\d+-of-\d+)?\.safetensors|model\.safetensors\.index\.json|generation_config\.json)$/

/**
 * Moves the files of `source`, a finished folder on the same disk, to `target`.
 *
 * A target that is not there appears whole. In one that is there, config.json goes first and comes last: between that, which is a few renames, there is
 * no model to open, and never new weights under an old configuration. A reader that took the old config.json before finds it gone after it has opened the
 * weights (`ModelFiles.requireUnchanged`). Weights of an earlier save are removed, other files stay.
 */
export async function replaceFolder(source: string, target: string): Promise<void> {
  const { existsSync } = await import('node:fs')
  const { readdir, rename, rm, rmdir } = await import('node:fs/promises')
  const { dirname, join } = await import('node:path')
  await syncFolder(source)
  if (!existsSync(target)) {
    await rename(source, target)
    await syncFolder(dirname(target))
    return
  }
  const names = await readdir(source)
  await rm(join(target, CONFIG_FILE), { force: true })
  // On the disk too: after a loss of power the old configuration must not be beside new weights.
  await syncFolder(target)
  for (const name of await readdir(target)) if (STALE.test(name) && !names.includes(name)) await rm(join(target, name))
  for (const name of names) if (name !== CONFIG_FILE) await rename(join(source, name), join(target, name))
  await syncFolder(target)
  await rename(join(source, CONFIG_FILE), join(target, CONFIG_FILE))
  await syncFolder(target)
  await rmdir(source)
}
