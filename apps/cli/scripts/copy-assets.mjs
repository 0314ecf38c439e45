// Copies what the command works on without any files into the package, so that the published one has it: a text, the tokenizer, the trained model, and the
// playground's pages where they are built.
import { copyFileSync, existsSync, mkdirSync, readdirSync, renameSync, rmSync, statSync } from 'node:fs'
import { basename, dirname, join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('../../../', import.meta.url))
const assets = fileURLToPath(new URL('../assets/', import.meta.url))

/** @type {Map<string, string>} where it goes, and where it comes from */
const files = new Map()
/** @type {(from: string, to: string) => void} */
const take = (from, to) => {
  for (const name of namesUnder(join(root, from))) files.set(join(to, name), join(root, from, name))
}
for (const name of ['README.md', 'valid.txt.gz']) files.set(join('text', name), join(root, 'fixtures/text', name))
take('fixtures/tokenizer-8k', 'tokenizer-8k')
take('apps/playground/dist', 'playground')
// The page loads the model by this name; where the pages are not built yet it is not among them.
take('apps/playground/public/model', 'playground/model')

for (const [name, from] of files) {
  const to = join(assets, name)
  if (isCopy(from, to)) continue
  mkdirSync(dirname(to), { recursive: true })
  // Renamed into place: tests that run at the same time never read half a file.
  const temporary = join(dirname(to), `.${basename(to)}.${process.pid}`)
  copyFileSync(from, temporary)
  renameSync(temporary, to)
}
for (const name of namesUnder(assets)) if (!files.has(name) && !basename(name).startsWith('.')) rmSync(join(assets, name), { force: true })

/** @type {(folder: string) => string[]} files under a folder, or none where it is not there */
function namesUnder(folder) {
  if (!existsSync(folder)) return []
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => relative(folder, join(entry.parentPath ?? entry.path, entry.name)))
}

/** @type {(from: string, to: string) => boolean} whether a copy is there and no older */
function isCopy(from, to) {
  if (!existsSync(to)) return false
  const [original, copy] = [statSync(from), statSync(to)]
  return original.size === copy.size && original.mtimeMs <= copy.mtimeMs
}
