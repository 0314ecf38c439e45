// Measures a step of decoding by its parts on this machine's GPU: `bench-step` of the offline bundle starts it.
import { renameSync, writeFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { cuda } from '@phsa/kernels-cuda'
import { unavailableReason } from '../attention/bench-attention.js'
import { benchStep } from './bench-step.js'

const { values } = parseArgs({ options: { out: { type: 'string' }, commit: { type: 'string' }, seconds: { type: 'string' } } })
const { out, commit, seconds = '60' } = values
if (out === undefined || !(Number(seconds) >= 0)) {
  console.error('usage: --out FILE [--seconds N] [--commit HASH]')
  process.exit(2)
}

try {
  const { conformance, halves, attention, layersChecks } = await benchStep({
    // Only the variant `layers at once` uses it.
    create: () => cuda({ persistentDecode: true }),
    commit,
    seconds: Number(seconds),
    // Whole or not at all: a run that is stopped leaves what it had.
    write: (result) => {
      writeFileSync(`${out}.part`, `${JSON.stringify(result, undefined, 2)}\n`)
      renameSync(`${out}.part`, out)
    },
    log: (line) => console.log(line),
  })
  const isRight =
    conformance.failed.length === 0 && [...halves, ...attention, ...layersChecks].every(({ checks }) => checks.every(({ ok }) => ok))
  process.exitCode = isRight ? 0 : 1
} catch (error) {
  const reason = unavailableReason(error)
  if (reason === undefined) throw error
  console.error(reason)
  process.exitCode = 3
}
