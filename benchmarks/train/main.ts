// Measures training steps on this machine's GPU: `bench-train` of the offline bundle starts it.
import { parseArgs } from 'node:util'
import { cuda } from '@phsa/kernels-cuda'
import { programCode, resultWriter } from '../bench-program.js'
import { benchModel } from '../model/bench-model.js'
import { checkModel } from '../model/model-gate.js'
import { smallTrainingPlan, TRAIN_GROUPS, trainingPlan } from './train-plan.js'
import { trainResult } from './train-result.js'

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
const groups = TRAIN_GROUPS.filter((group) => only === undefined || only.includes(group))
if (out === undefined || !(Number(seconds) >= 0) || groups.length < new Set(only).size) {
  console.error(`usage: --out FILE [--seconds N] [--small] [--commit HASH] [--only ${TRAIN_GROUPS.join('|')}]...`)
  process.exit(2)
}

process.exitCode = await programCode(async () => {
  const backend = await cuda()
  const write = resultWriter(out)
  const plan = small ? smallTrainingPlan() : trainingPlan(groups)
  const { gate, rows } = await benchModel({
    backend,
    check: checkModel,
    plan,
    commit,
    seconds: Number(seconds),
    write: (result) => write(trainResult(result, plan)),
    log: (line) => console.log(line),
  }).finally(() => backend.dispose())
  return gate.every(({ ok }) => ok) && rows.every(({ outcome }) => outcome !== 'wrong' && outcome !== 'failed')
})
