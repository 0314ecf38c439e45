// Compares fixtures/ byte for byte with the independently made originals, where those lie beside the checkout.
// PHSA_SHARED names their folder; without it, ../shared is tried.
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join, relative, resolve } from 'node:path'
import { root } from './command.mjs'

const originals = resolve(root, process.env.PHSA_SHARED ?? '../shared')

const pairs = [
  ['fixtures/attention', 'fixtures/attention'],
  ['fixtures/models', 'fixtures/models'],
  ['data/tokenizer-8k', 'fixtures/tokenizer-8k'],
]

/** @param {string} folder */
function filesUnder(folder) {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => relative(folder, join(entry.parentPath ?? entry.path, entry.name)))
}

/**
 * @param {string} original
 * @param {string} copy
 */
function differences(original, copy) {
  const names = new Set([...filesUnder(original), ...filesUnder(copy)])
  return [...names].flatMap((name) => {
    if (!existsSync(join(original, name))) return [`${join(copy, name)} has no original`]
    if (!existsSync(join(copy, name))) return [`${join(copy, name)} is missing`]
    const same = readFileSync(join(original, name)).equals(readFileSync(join(copy, name)))
    return same ? [] : [`${join(copy, name)} differs from its original`]
  })
}

if (!existsSync(join(originals, 'fixtures'))) {
  console.log('skipped: no originals beside this checkout (set PHSA_SHARED to their folder)')
} else {
  const found = pairs.flatMap(([original, copy]) => differences(join(originals, original), join(root, copy)))
  for (const line of found) console.error(line)
  console.log(found.length === 0 ? 'fixtures equal their originals' : `${found.length} fixtures differ`)
  process.exitCode = found.length === 0 ? 0 : 1
}
