// Runs the inputs FIRST, FIRST + STEP, ... up to COUNT of a seed; started by scripts/soak.mjs, once for each core.
// Usage: tsx fuzz-soak.ts SEED FIRST STEP COUNT SECONDS PROGRESS FAILURES, or with SECONDS 0 to write the input FIRST without running it
// PROGRESS is a file that always holds the number of the input at work, for whoever finds this process dead or stuck; to FAILURES each failed input is
// written. The last line of the output is the result as JSON.
import { closeSync, mkdirSync, openSync, writeFileSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { reference } from '@phsa/core'
import { guardAllocations } from './allocation-guard.js'
import { type FuzzCase, fuzzCase } from './fuzz-case.js'
import { readCorpus } from './fuzz-corpus.js'
import { runFuzzCase } from './run-fuzz-case.js'

const [seed, first, step, count, seconds] = process.argv.slice(2, 7).map(Number)
const [progressPath, failures] = process.argv.slice(7)

const counts: Record<string, number> = {}
const failed: { index: number; fault: string; folder: string }[] = []
const corpus = readCorpus()
if (seconds === 0) {
  save(first, fuzzCase(corpus, seed, first), 'it never came back')
  process.exit()
}
const backend = await reference()
const progress = openSync(progressPath, 'w')
const end = performance.now() + seconds * 1000
let inputs = 0
let slowest = { milliseconds: 0, index: first }

for (let index = first; index < count && performance.now() < end; index += step) {
  writeSync(progress, String(index).padEnd(16), 0)
  const made = fuzzCase(corpus, seed, index)
  const guard = guardAllocations()
  const start = performance.now()
  const outcome = await runFuzzCase(made, backend)
  const milliseconds = performance.now() - start
  guard.remove()
  const giant = guard.taken()
  const fault = outcome.kind === 'fault' ? outcome.fault : giant
  const kind = fault !== undefined ? 'fault' : outcome.kind === 'refused' ? outcome.code : 'loaded'
  const key = `${made.target}: ${kind}`
  counts[key] = (counts[key] ?? 0) + 1
  if (fault !== undefined) failed.push({ index, fault, folder: save(index, made, fault) })
  if (milliseconds > slowest.milliseconds) slowest = { milliseconds, index }
  inputs++
}
closeSync(progress)
backend.dispose()
console.log(JSON.stringify({ inputs, counts, failed, slowest, peakMegabytes: Math.round(process.resourceUsage().maxRSS / 1e3) }))

/** Writes the mutated files of an input. @returns where */
function save(index: number, { target, files, mutated }: FuzzCase, fault: string): string {
  const folder = join(failures, `${seed}-${index}`)
  mkdirSync(folder, { recursive: true })
  for (const name of Object.keys(mutated)) writeFileSync(join(folder, name), files[name])
  writeFileSync(join(folder, 'fault.txt'), `${target}\n${JSON.stringify(mutated)}\n${fault}\n`)
  return folder
}
