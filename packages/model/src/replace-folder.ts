import { syncFolder } from './durable-files.js'
import { nodeModule } from './node-module.js'

/** The file without which a folder is no model: `loadModel` reads it first. */
export const CONFIG_FILE = 'config.json'

/** What belongs to a tokenizer in a Hugging Face folder. */
export const TOKENIZER_FILES = [
  'tokenizer.json',
  'tokenizer_config.json',
  'special_tokens_map.json',
  'added_tokens.json',
  'chat_template.jinja',
  'vocab.json',
  'merges.txt',
]

/** Files of an earlier save that would count although a later one does not have them. */
const STALE = /^(model(-\d+-of-\d+)?\.safetensors|model\.safetensors\.index\.json|generation_config\.json)$/

/** Folders within a model's own that a save works in; after one that was cut short they are still there. */
const UNFINISHED = /^\.[\da-f-]{36}\.(partial|previous)$/

/**
 * Moves the files of `source`, a finished folder on the same disk, to `target`.
 *
 * A target that is not there appears whole. In one that is there, config.json goes first and comes last: between that, which is a few renames, there is
 * no model to open, and never new weights under an old configuration. A reader that took the old config.json before finds it gone after it has opened the
 * weights (`ModelFiles.requireUnchanged`). What the new files replace, and weights and tokenizer of an earlier save, are kept in `previous` until the new
 * model stands, so that neither model is lost should it end between; other files stay.
 * @param previous a folder that is not there yet, within `target`
 */
export async function replaceFolder(source: string, target: string, previous: string): Promise<void> {
  const { existsSync } = await nodeModule('node:fs')
  const { mkdir, readdir, rename, rm } = await nodeModule('node:fs/promises')
  const { dirname, join } = await nodeModule('node:path')
  await syncFolder(source)
  if (!existsSync(target)) {
    await rename(source, target)
    await syncFolder(dirname(target))
    return
  }
  const names = await readdir(source)
  const isOld = (name: string) =>
    names.includes(name) || STALE.test(name) || (names.includes('tokenizer.json') && TOKENIZER_FILES.includes(name))
  const found = await readdir(target, { withFileTypes: true })
  const old = found.filter((entry) => !entry.isDirectory() && isOld(entry.name)).map(({ name }) => name)
  await mkdir(previous)
  if (old.includes(CONFIG_FILE)) await rename(join(target, CONFIG_FILE), join(previous, CONFIG_FILE))
  // On the disk too: after a loss of power the old configuration must not be beside new weights.
  await syncFolder(previous)
  await syncFolder(target)
  for (const name of old) if (name !== CONFIG_FILE) await rename(join(target, name), join(previous, name))
  await syncFolder(previous)
  for (const name of names) if (name !== CONFIG_FILE) await rename(join(source, name), join(target, name))
  await syncFolder(target)
  await rename(join(source, CONFIG_FILE), join(target, CONFIG_FILE))
  await syncFolder(target)
  for (const name of await readdir(target)) if (UNFINISHED.test(name)) await rm(join(target, name), { recursive: true })
}
