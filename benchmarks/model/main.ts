// Measures a whole model on this machine's GPU: `bench-model` of the offline bundle starts it.
import { parseArgs } from 'node:util'
import { cuda } from '@phsa/kernels-cuda'
import { programCode, resultWriter } from '../bench-program.js'
import { benchModel } from './bench-model.js'
import { checkModel } from './model-gate.js'
import { fullPlan, MODEL_GROUPS, smallPlan } from './model-plan.js'

const { values } = parseArgs({
  options: {
    out: { type: 'string' },
    commit: { type: 'string' },
    seconds: { type: 'string' },
    small: { type: 'boolean' },
    only: { type: 'string', multiple: true },
  },
})
const { out, commit, seconds = '120', small = false, only } = values
const groups = MODEL_GROUPS.filter((group) => only === undefined || only.includes(group))
if (out === undefined || !(Number(seconds) >= 0) || groups.length < new Set(only).size) {
  console.error(`usage: --out FILE [--seconds N] [--small] [--commit HASH] [--only ${MODEL_GROUPS.join('|')}]...`)
  process.exit(2)
}

process.exitCode = await programCode(async () => {
  const backend = await cuda()
  const { gate, rows, training } = await benchModel({
    backend,
    check: checkModel,
    plan: small ? smallPlan(groups) : fullPlan(groups),
    commit,
    seconds: Number(seconds),
    write: resultWriter(out),
    log: (line) => console.log(line),
  }).finally(() => backend.dispose())
  return gate.every(({ ok }) => ok) && rows.every(({ outcome }) => outcome !== 'wrong' && outcome !== 'failed') && training?.flat !== false
})
