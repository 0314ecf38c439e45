// Measures a step of decoding by its parts on this machine's GPU: `bench-step` of the offline bundle starts it.
import { parseArgs } from 'node:util'
import { cuda } from '@phsa/kernels-cuda'
import { programCode, resultWriter } from '../bench-program.js'
import { benchStep } from './bench-step.js'

const { values } = parseArgs({ options: { out: { type: 'string' }, commit: { type: 'string' }, seconds: { type: 'string' } } })
const { out, commit, seconds = '60' } = values
if (out === undefined || !(Number(seconds) >= 0)) {
  console.error('usage: --out FILE [--seconds N] [--commit HASH]')
  process.exit(2)
}

process.exitCode = await programCode(async () => {
  const { conformance, halves, attention, layersChecks } = await benchStep({
    // Only the variant `layers at once` uses it.
    create: () => cuda({ persistentDecode: true }),
    commit,
    seconds: Number(seconds),
    write: resultWriter(out),
    log: (line) => console.log(line),
  })
  return conformance.failed.length === 0 && [...halves, ...attention, ...layersChecks].every(({ checks }) => checks.every(({ ok }) => ok))
})
