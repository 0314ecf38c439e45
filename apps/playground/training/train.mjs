// Trains the model of the playground and the demo: makes its data from two texts, trains as train.yaml says and leaves the model folder.
//
//   node apps/playground/training/train.mjs TRAIN.txt VALID.txt [--phsa COMMAND] [--out FOLDER] [-- OPTIONS OF phsa train]
//
//   --phsa   what runs phsa (default: the one of this checkout, which must be built)
//   --out    the finished model folder (default: run/exported)
import { spawnSync } from 'node:child_process'
import { copyFileSync, existsSync, mkdirSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'

const here = dirname(fileURLToPath(import.meta.url))
const run = join(here, 'run')
const separator = process.argv.indexOf('--')
const [own, forTrain] =
  separator === -1 ? [process.argv.slice(2), []] : [process.argv.slice(2, separator), process.argv.slice(separator + 1)]
const { values, positionals } = parseArgs({
  args: own,
  allowPositionals: true,
  options: {
    phsa: { type: 'string', default: join(here, '../../cli/bin/phsa.js') },
    out: { type: 'string', default: join(run, 'exported') },
  },
})
const [train, valid] = positionals
if (train === undefined || valid === undefined) {
  console.error('usage: train.mjs TRAIN.txt VALID.txt [--phsa COMMAND] [--out FOLDER] [-- OPTIONS OF phsa train]')
  process.exit(2)
}

mkdirSync(join(run, 'tokens'), { recursive: true })
copyFileSync(valid, join(run, 'valid.txt'))
if (!existsSync(join(run, 'recall.txt'))) step(process.execPath, [join(here, 'recall-text.mjs'), train, join(run, 'recall.txt')])
phsa('tokenize', train, '--out', join(run, 'tokens/text'))
phsa('tokenize', join(run, 'recall.txt'), '--out', join(run, 'tokens/recall'))
phsa('train', join(here, 'train.yaml'), ...forTrain)
phsa('export', join(run, 'model'), '--dtype', 'bf16', '--out', values.out)

/** @param {string[]} args */
function phsa(...args) {
  const isScript = values.phsa.endsWith('.js')
  step(isScript ? process.execPath : values.phsa, isScript ? [values.phsa, ...args] : args)
}

/**
 * Runs one program; ends this one with its status where it fails.
 *
 * @param {string} program
 * @param {string[]} args
 */
function step(program, args) {
  const { status, error } = spawnSync(program, args, { stdio: 'inherit' })
  if (error) throw error
  if (status !== 0) process.exit(status ?? 1)
}
