// Measures steps of decoding over paged caches on this machine's GPU: `bench-decode` of the offline bundle starts it.
import { parseArgs } from 'node:util'
import { cuda } from '@phsa/kernels-cuda'
import { programCode, resultWriter } from '../bench-program.js'
import { benchDecode } from './bench-decode.js'

const { values } = parseArgs({
  options: { out: { type: 'string' }, commit: { type: 'string' }, seconds: { type: 'string' }, small: { type: 'boolean' } },
})
const { out, commit, seconds = '120', small = false } = values
if (out === undefined || !(Number(seconds) >= 0)) {
  console.error('usage: --out FILE [--seconds N] [--small] [--commit HASH]')
  process.exit(2)
}

process.exitCode = await programCode(async () => {
  const { conformance, rows } = await benchDecode({
    create: () => cuda(),
    commit,
    small,
    seconds: Number(seconds),
    write: resultWriter(out),
    log: (line) => console.log(line),
  })
  return conformance.failed.length === 0 && rows.every(({ outcome }) => outcome !== 'wrong' && outcome !== 'failed')
})
