// Measures the attention kernels of @phsa/kernels-cuda on this machine's GPU: `bench-attention` of the offline bundle starts it.
import { parseArgs } from 'node:util'
import { cuda } from '@phsa/kernels-cuda'
import { programCode, resultWriter } from '../bench-program.js'
import { benchAttention } from './bench-attention.js'
import { ROW_GROUPS } from './table-rows.js'

const { values } = parseArgs({
  options: {
    out: { type: 'string' },
    commit: { type: 'string' },
    seconds: { type: 'string' },
    small: { type: 'boolean' },
    only: { type: 'string', multiple: true },
    from: { type: 'string' },
    to: { type: 'string' },
  },
})
const { out, commit, seconds = '150', small = false, only, from = '0', to = 'Infinity' } = values
const groups = ROW_GROUPS.filter((group) => only === undefined || only.includes(group))
if (out === undefined || !(Number(seconds) >= 0) || !(Number(from) >= 0) || !(Number(to) >= 0) || groups.length < new Set(only).size) {
  console.error(
    `usage: --out FILE [--seconds N] [--small] [--from LENGTH] [--to LENGTH] [--commit HASH] [--only ${ROW_GROUPS.join('|')}]...`,
  )
  process.exit(2)
}

process.exitCode = await programCode(async () => {
  const result = await benchAttention({
    create: () => cuda(),
    commit,
    small,
    groups,
    from: Number(from),
    to: Number(to),
    seconds: Number(seconds),
    write: resultWriter(out),
    log: (line) => console.log(line),
  })
  const isRight = result.conformance.failed.length === 0 && result.rows.every(({ outcome }) => outcome !== 'wrong' && outcome !== 'failed')
  return isRight && result.memory?.flat !== false
})
