// Compares the losses of one run on several backends: the logs of `phsa train benchmarks/portable/portable.yaml --backend NAME --out OUT`.
// Each is compared with the first. Exit code 1 where one is further away than the bound.
// Usage: npx tsx --tsconfig tsconfig.base.json benchmarks/compare-losses.ts reference=OUT/log.jsonl cuda=OUT2/log.jsonl... [--steps 50] [--within 0.001] [--out FILE]
import { readFileSync, writeFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { lossDifference, parseLosses, type StepLosses } from './portable/loss-difference.js'

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { steps: { type: 'string', default: '50' }, within: { type: 'string', default: '0.001' }, out: { type: 'string' } },
})
const [steps, within] = [Number(values.steps), Number(values.within)]
const runs = positionals.map(readRun)
if (runs.length < 2) fail('give at least two logs: one of the reference and one to compare with it')
const [reference, ...others] = runs
const compared = others.map(({ name, losses }) => {
  const difference = lossDifference(losses, reference.losses)
  const ok = difference.loss.most <= within && (difference.distillationLoss?.most ?? 0) <= within
  const distilled = difference.distillationLoss
  const distillation = distilled ? `, distillation loss by ${distilled.most.toExponential(1)} (step ${distilled.step})` : ''
  console.log(
    `${name}: loss differs from ${reference.name} by at most ${difference.loss.most.toExponential(1)} (step ${difference.loss.step})${distillation}: ${ok ? 'within' : 'NOT within'} ${within}`,
  )
  return { name, ...difference, ok }
})
if (values.out !== undefined) {
  const file = { command: 'benchmarks/compare-losses.ts', steps, within, reference: reference.name, compared, runs }
  writeFileSync(values.out, `${JSON.stringify(file, undefined, 2)}\n`)
}
process.exit(compared.every(({ ok }) => ok) ? 0 : 1)

/** @param argument NAME=LOG */
function readRun(argument: string): { readonly name: string; readonly losses: readonly StepLosses[] } {
  const [name, path] = argument.split('=')
  if (!path || !(steps > 0) || !(within > 0))
    fail('usage: compare-losses.ts NAME=LOG.jsonl NAME=LOG.jsonl... [--steps N] [--within X] [--out FILE]')
  try {
    return { name, losses: parseLosses(readFileSync(path, 'utf8'), steps) }
  } catch (error) {
    return fail(`${path}: ${(error as Error).message}`)
  }
}

function fail(message: string): never {
  console.error(message)
  process.exit(2)
}
