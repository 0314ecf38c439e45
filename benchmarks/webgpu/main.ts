// Measures WebGPU on this machine's GPU, beside CUDA and TensorFlow.js where they are: `bench-webgpu` of the offline bundle starts it.
import { parseArgs } from 'node:util'
import { programCode, resultWriter } from '../bench-program.js'
import { benchWebgpu } from './bench-webgpu.js'
import { fullWebgpuPlan, smallWebgpuPlan, WEBGPU_GROUPS } from './webgpu-plan.js'

const { values } = parseArgs({
  options: {
    out: { type: 'string' },
    commit: { type: 'string' },
    seconds: { type: 'string' },
    small: { type: 'boolean' },
    only: { type: 'string', multiple: true },
  },
})
const { out, commit, seconds = '200', small = false, only } = values
const groups = WEBGPU_GROUPS.filter((group) => only === undefined || only.includes(group))
if (out === undefined || !(Number(seconds) >= 0) || groups.length < new Set(only).size) {
  console.error(`usage: --out FILE [--seconds N] [--small] [--commit HASH] [--only ${WEBGPU_GROUPS.join('|')}]...`)
  process.exit(2)
}

const code = await programCode(async () => {
  const { conformance, products, attention, modelGate, model } = await benchWebgpu({
    plan: small ? smallWebgpuPlan() : fullWebgpuPlan(),
    groups,
    dawnFlags: process.env.PHSA_DAWN_FLAGS?.split(' ').filter(Boolean) ?? [],
    commit,
    seconds: Number(seconds),
    write: resultWriter(out),
    log: (line) => console.log(line),
  })
  const rows = [...products, ...attention, ...model]
  return (
    conformance.failed.length === 0 &&
    modelGate.every(({ ok }) => ok) &&
    rows.every(({ outcome }) => outcome === 'measured' || outcome === 'left-out')
  )
})
// Dawn and TensorFlow.js leave handles that keep the process alive.
process.exit(code)
