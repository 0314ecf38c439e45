// `npm run soak`: what takes too long for `npm test`. Four subjects; all, unless one is named.
//
// npm run soak -- fuzz --inputs 100000 --seed 7        everything that reads a model's files, that many inputs; writes benchmarks/results/fuzz.json
// node scripts/soak.mjs fuzz --seconds 60              as many as fit; writes nothing
// node scripts/soak.mjs fuzz --seed 7 --input 4711     one input again
// npm run soak -- training --kills 200 --seed 7        training processes that are killed; writes benchmarks/results/soak-training.json
// npm run soak -- serving --clients 500 --seconds 1800  clients against a server, a third of which leave; writes benchmarks/results/soak-serving.json
// npm run soak -- fuzz-serving --requests 10000 --seed 7  broken requests against a server; writes benchmarks/results/fuzz-serving.json
// node scripts/soak.mjs fuzz-serving --seed 7 --input 4711  one of them again
import { spawn } from 'node:child_process'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { availableParallelism, cpus } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { output, root } from './command.mjs'

/** An input takes milliseconds: one at work this long is stuck, on any machine. */
const STUCK_SECONDS = 60
const HEAP_MEGABYTES = 512
const PEAK_MEGABYTES = 1500

/** Failed inputs are written here. */
const cache = join(root, 'node_modules/.cache/fuzz')
/** What results of a server depend on. */
const served = ['packages/core/src', 'packages/model/src', 'packages/server', 'scripts/soak.mjs']

/** @typedef {{ seed: number, inputs: number, seconds: number, first: number, kills: number, clients: number, requests: number }} Amount */
/** @typedef {{ index: number, fault: string, folder: string }} Failure */
/** @typedef {{ inputs: number, counts: Record<string, number>, failed: Failure[], slowest: { milliseconds: number, index: number }, peakMegabytes: number }} Result */

/** @type {Record<string, (amount: Amount) => Promise<boolean>>} By subject; each gives true when it found nothing. */
const jobs = { fuzz, training, serving, 'fuzz-serving': fuzzServing }

const text = /** @type {const} */ ({ type: 'string' })
const { values, positionals } = parseArgs({
  options: { inputs: text, seconds: text, seed: text, input: text, kills: text, clients: text, requests: text },
  allowPositionals: true,
})
const stranger = positionals.find((name) => !Object.hasOwn(jobs, name))
if (stranger !== undefined) throw new Error(`there is no subject ${stranger}; give ${Object.keys(jobs).join(' or ')}, or none for all.`)
const seed = values.seed === undefined ? Math.floor(Math.random() * 2 ** 32) : wholeNumber('seed', values.seed)
const input = values.input === undefined ? undefined : wholeNumber('input', values.input)
const seconds = values.seconds === undefined ? Number.POSITIVE_INFINITY : wholeNumber('seconds', values.seconds)
const usual = values.seconds === undefined ? 100_000 : Number.MAX_SAFE_INTEGER
const inputs = input === undefined ? (values.inputs === undefined ? usual : wholeNumber('inputs', values.inputs)) : input + 1

const kills = values.kills === undefined ? 200 : wholeNumber('kills', values.kills)
const clients = values.clients === undefined ? 100 : wholeNumber('clients', values.clients)
const requests = input === undefined ? (values.requests === undefined ? 10_000 : wholeNumber('requests', values.requests)) : input + 1

let sound = true
for (const name of positionals.length > 0 ? positionals : Object.keys(jobs)) {
  console.log(`soak: ${name}, seed ${seed}`)
  sound = (await jobs[name]({ seed, inputs, seconds, first: input ?? 0, kills, clients, requests })) && sound
}
process.exit(sound ? 0 : 1)

/** @param {string} name @param {string} value */
function wholeNumber(name, value) {
  if (/^\d{1,15}$/.test(value)) return Number(value)
  throw new Error(`--${name} is ${value}; it must be a whole number.`)
}

/** @param {Amount} amount */
async function fuzz(amount) {
  const start = performance.now()
  const workers = amount.inputs - amount.first === 1 ? 1 : Math.max(1, availableParallelism())
  const results = await Promise.all(Array.from({ length: workers }, (_, worker) => fuzzWorker(amount, worker, workers)))
  const elapsed = (performance.now() - start) / 1000
  const failed = results.flatMap((result) => result.failed)
  const total = results.reduce((sum, result) => sum + result.inputs, 0)
  /** @type {Record<string, number>} */
  const counts = {}
  for (const result of results) for (const [key, count] of Object.entries(result.counts)) counts[key] = (counts[key] ?? 0) + count
  const outcomes = Object.fromEntries(Object.entries(counts).sort(([left], [right]) => left.localeCompare(right)))
  const peakMegabytes = Math.max(...results.map((result) => result.peakMegabytes))
  const slowest = results.map((result) => result.slowest).sort((left, right) => right.milliseconds - left.milliseconds)[0]

  console.table(outcomes)
  console.log(
    `${total} inputs in ${elapsed.toFixed(1)} s, ${failed.length} failed; peak ${peakMegabytes} MB; slowest ${slowest.milliseconds.toFixed(0)} ms (input ${slowest.index})`,
  )
  for (const { index, fault, folder } of failed.slice(0, 20)) {
    console.error(`\ninput ${index}: ${fault}\n  saved in ${folder}\n  again: node scripts/soak.mjs --seed ${amount.seed} --input ${index}`)
  }
  const roomy = peakMegabytes > PEAK_MEGABYTES
  if (roomy) console.error(`the peak of ${peakMegabytes} MB is above ${PEAK_MEGABYTES} MB: something was allocated that no input asks for`)
  if (values.seconds === undefined && input === undefined) {
    writeResult('fuzz', {
      ...provenance(['packages/core/src', 'packages/model', 'scripts/soak.mjs']),
      seed: amount.seed,
      inputs: total,
      failed: failed.length,
      outcomes,
      seconds: elapsed,
      workers,
      peakMegabytes,
      slowestMilliseconds: slowest.milliseconds,
    })
  }
  return failed.length === 0 && !roomy
}

/**
 * One process of the fuzzer. Should it die or get stuck, the input at work is a failure.
 *
 * @param {Amount} amount
 * @param {number} worker
 * @param {number} workers
 * @returns {Promise<Result>}
 */
async function fuzzWorker(amount, worker, workers) {
  mkdirSync(cache, { recursive: true })
  const progress = join(cache, `progress-${process.pid}-${worker}`)
  writeFileSync(progress, '')
  const seconds = Number.isFinite(amount.seconds) ? amount.seconds : 1e9
  const child = startFuzzer([amount.seed, amount.first + worker, workers, amount.inputs, seconds], progress)
  let printed = ''
  child.stdout?.setEncoding('utf8').on('data', (text) => {
    printed += text
  })
  let last = ''
  let since = performance.now()
  let stuck = false
  const watch = setInterval(() => {
    const current = readFileSync(progress, 'utf8').trim()
    if (current !== last) {
      if (Math.floor(Number(last) / 10_000) !== Math.floor(Number(current) / 10_000)) console.log(`  worker ${worker}: input ${current}`)
      last = current
      since = performance.now()
    } else if (performance.now() - since > STUCK_SECONDS * 1000) {
      stuck = true
      child.kill('SIGKILL')
    }
  }, 1000)
  const code = await new Promise((resolve) => child.on('close', resolve))
  clearInterval(watch)
  if (code === 0) return JSON.parse(printed.trim().split('\n').at(-1) ?? '')
  const index = Number(readFileSync(progress, 'utf8'))
  const fault = stuck ? `not done after ${STUCK_SECONDS} s` : `the process ended with ${code}: out of memory, or worse`
  await new Promise((resolve) => startFuzzer([amount.seed, index, 1, index + 1, 0], progress).on('close', resolve))
  return {
    inputs: Math.floor((index - amount.first) / workers) + 1,
    counts: { 'any: fault': 1 },
    failed: [{ index, fault, folder: join(cache, `${amount.seed}-${index}`) }],
    slowest: { milliseconds: 0, index },
    peakMegabytes: 0,
  }
}

/** @param {number[]} numbers @param {string} progress */
function startFuzzer(numbers, progress) {
  const args = [...numbers.map(String), progress, cache]
  return startScript('../packages/model/test/fuzz/fuzz-soak.ts', [`--max-old-space-size=${HEAP_MEGABYTES}`], args)
}

/** @param {string} script relative to this file @param {string[]} options of node @param {string[]} args */
function startScript(script, options, args) {
  return spawn(process.execPath, [...options, '--import', 'tsx', fileURLToPath(new URL(script, import.meta.url)), ...args], {
    cwd: root,
    env: { ...process.env, TSX_TSCONFIG_PATH: join(root, 'tsconfig.base.json') },
    stdio: ['ignore', 'pipe', 'inherit'],
  })
}

/** @param {Amount} amount */
async function training({ seed, kills }) {
  const start = performance.now()
  const again = `npm run soak -- training --kills ${kills} --seed ${seed}`
  const report = await reportOf('../packages/trainer/test/kill/kill-soak.ts', [kills, seed])
  if (!report) {
    console.error(`a killed run differs from the unbroken one, or left a checkpoint that is not whole (above); again: ${again}`)
    return false
  }
  const elapsed = (performance.now() - start) / 1000
  console.log(
    `${report.kills} kills in ${report.runs} runs of ${report.steps} steps and ${elapsed.toFixed(0)} s: ${report.duringWrite} during the write of a checkpoint, ${report.duringRemoval} during the removal of one; every run ended as the unbroken one`,
  )
  const sources = ['packages/core/src', 'packages/model/src', 'packages/trainer', 'scripts/soak.mjs']
  writeResult('soak-training', { ...provenance(sources), command: again, seed, ...report, failed: 0, seconds: elapsed })
  return true
}

/** @param {Amount} amount */
async function serving({ seed, seconds, clients }) {
  const duration = Number.isFinite(seconds) ? seconds : 60
  const report = await reportOf('../packages/server/test/soak/serving-soak.ts', [clients, duration, seed])
  if (!report) return false
  for (const fault of report.faults) console.error(fault)
  const { finished, left, refused, fuzzed, healthMilliseconds } = report
  console.log(
    `${finished} streams as alone, ${left} that were left, ${refused} refused with 429, ${fuzzed} fuzzed requests; /health p99 ${healthMilliseconds.p99.toFixed(1)} ms; ${report.faults.length} faults`,
  )
  const again = `npm run soak -- serving --clients ${clients} --seconds ${duration} --seed ${seed}`
  writeResult('soak-serving', { ...provenance(served), command: again, seed, ...report, faults: report.faults.length })
  return report.faults.length === 0
}

/** @param {Amount} amount */
async function fuzzServing({ seed, first, requests: end }) {
  const start = performance.now()
  const report = await reportOf('../packages/server/test/soak/serving-fuzz.ts', [first, end, seed])
  if (!report) return false
  for (const fault of report.faults) console.error(fault)
  const elapsed = (performance.now() - start) / 1000
  console.table(report.statuses)
  console.log(`${report.requests} requests in ${elapsed.toFixed(0)} s; ${report.faults.length} faults`)
  if (input === undefined) {
    const again = `npm run soak -- fuzz-serving --requests ${end} --seed ${seed}`
    writeResult('fuzz-serving', { ...provenance(served), command: again, seed, ...report, seconds: elapsed, faults: report.faults.length })
  }
  return report.faults.length === 0
}

/**
 * What a script says on stdout, as JSON; undefined where it fails.
 *
 * @param {string} script relative to this file
 * @param {number[]} args
 */
async function reportOf(script, args) {
  const child = startScript(script, [], args.map(String))
  let printed = ''
  child.stdout?.setEncoding('utf8').on('data', (text) => {
    printed += text
  })
  const code = await new Promise((resolve) => child.on('close', resolve))
  return code === 0 ? JSON.parse(printed) : undefined
}

/**
 * On what it was measured.
 *
 * @param {string[]} sources
 */
function provenance(sources) {
  return {
    commit: output('git', ['rev-parse', 'HEAD']).trim(),
    uncommitted: output('git', ['status', '--porcelain', '--', ...sources]) !== '',
    processor: cpus()[0].model,
    node: process.version,
  }
}

/** @param {string} name @param {Record<string, unknown>} result */
function writeResult(name, result) {
  writeFileSync(join(root, `benchmarks/results/${name}.json`), `${JSON.stringify(result, undefined, 2)}\n`)
}
