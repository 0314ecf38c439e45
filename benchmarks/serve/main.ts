// Measures a server of this machine's GPU: `bench-serve` of the offline bundle starts it.
import { parseArgs } from 'node:util'
import { cuda } from '@phsa/kernels-cuda'
import { programCode, resultWriter } from '../bench-program.js'
import { benchServe } from './bench-serve.js'
import { recordingReference } from './recording-reference.js'
import { fullServePlan, rowName, smallServePlan } from './serve-plan.js'

const { values } = parseArgs({
  options: {
    out: { type: 'string' },
    commit: { type: 'string' },
    backend: { type: 'string' },
    seconds: { type: 'string' },
    'row-seconds': { type: 'string' },
    small: { type: 'boolean' },
    only: { type: 'string', multiple: true },
    from: { type: 'string' },
    to: { type: 'string' },
    'step-tokens': { type: 'string' },
    'prompt-tokens': { type: 'string' },
  },
})
const { out, commit, backend: backendName = 'cuda', seconds = '150', small = false, only = [], from = '0', to = '1e9' } = values
const rowSeconds = values['row-seconds'] ?? '60'
const isHost = backendName === 'reference'
const whole = small || isHost ? smallServePlan(isHost ? 'f32' : 'bf16') : fullServePlan()
const names = ['same', ...whole.rows.map(rowName)]
const stepTokens = values['step-tokens'] ?? String(whole.stepTokens)
const promptTokens = values['prompt-tokens']
const numbers = [seconds, rowSeconds, from, to, stepTokens, promptTokens ?? '0'].map(Number)
if (
  out === undefined ||
  !['cuda', 'reference'].includes(backendName) ||
  numbers.some((value) => !(value >= 0)) ||
  only.some((name) => !names.includes(name))
) {
  console.error(
    'usage: --out FILE [--small] [--only NAME]... [--from TOKENS] [--to TOKENS] [--seconds N] [--row-seconds N] [--step-tokens N] [--prompt-tokens N] [--backend cuda|reference] [--commit HASH]',
  )
  console.error(`names: ${names.join(' ')}`)
  process.exit(2)
}
const isWanted = (name: string) => only.length === 0 || only.includes(name)
const plan = {
  ...whole,
  stepTokens: Number(stepTokens),
  ...(promptTokens !== undefined && { promptTokens: Number(promptTokens) }),
  rows: whole.rows.filter((row) => isWanted(rowName(row)) && row.context >= Number(from) && row.context <= Number(to)),
}

process.exitCode = await programCode(async () => {
  const backend = isHost ? recordingReference() : await cuda()
  const { gate, rows } = await benchServe({
    backend,
    plan,
    compares: isWanted('same'),
    commit,
    seconds: Number(seconds),
    rowSeconds: Number(rowSeconds),
    write: resultWriter(out),
    log: (line) => console.log(line),
  }).finally(() => backend.dispose())
  return gate?.checks.every(({ ok }) => ok) === true && rows.every(({ outcome }) => outcome !== 'failed')
})
