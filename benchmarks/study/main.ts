// The study of docs/runs/selection-study: `study` of the offline bundle starts it.
import { parseArgs } from 'node:util'
import { isPhsaError, type ModelBackend, reference } from '@phsa/core'
import { cuda } from '@phsa/kernels-cuda'
import { tfjs } from '@phsa/kernels-tfjs'
import { programCode } from '../bench-program.js'
import { runSeed } from './run-seed.js'
import { readStudyConfig } from './study-config.js'
import { openStudyData, prepareStudyData } from './study-data.js'

const FOLDER = 'docs/runs/selection-study'
const USAGE = `usage: study prepare TRAIN.txt VALID.txt [--tokenizer FOLDER] [--data FOLDER]
       study run [--seed N]... [--branch NAME]... [--start-only] [--seconds N] [--config FILE] [--data FOLDER] [--out FOLDER] [--work FOLDER] [--backend cuda|tfjs|reference] [--commit HASH]`

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    tokenizer: { type: 'string', default: 'fixtures/tokenizer-8k' },
    data: { type: 'string', default: `${FOLDER}/data` },
    config: { type: 'string', default: `${FOLDER}/config.json` },
    out: { type: 'string', default: `${FOLDER}/results` },
    work: { type: 'string', default: `${FOLDER}/unfinished` },
    seed: { type: 'string', multiple: true },
    branch: { type: 'string', multiple: true },
    'start-only': { type: 'boolean', default: false },
    seconds: { type: 'string' },
    backend: { type: 'string', default: 'cuda' },
    commit: { type: 'string', default: 'unknown' },
  },
})

const BACKENDS: Record<string, () => Promise<ModelBackend>> = { cuda: () => cuda(), tfjs: () => tfjs(), reference: () => reference() }
const [command, train, valid] = positionals
if (command === 'prepare' && train !== undefined && valid !== undefined) {
  process.exitCode = await toldInWords(async () => {
    await prepareStudyData(train, valid, values.tokenizer, values.data)
    return 0
  })
} else if (command === 'run' && values.backend in BACKENDS) {
  process.exitCode = await toldInWords(() => programCode(run))
} else {
  console.error(USAGE)
  process.exit(2)
}

/** What is wrong with files or settings has a message that says it all. */
async function toldInWords(work: () => Promise<number>): Promise<number> {
  try {
    return await work()
  } catch (error) {
    if (!isPhsaError(error) && !(error instanceof Error && 'syscall' in error)) throw error
    console.error(error.message)
    return 2
  }
}

async function run(): Promise<boolean> {
  const { out, work, commit, branch, 'start-only': startOnly, seconds } = values
  const config = readStudyConfig(values.config)
  const stranger = branch?.find((name) => !config.branches.some((known) => known.name === name))
  const seeds = values.seed?.map(Number) ?? config.seeds
  if (stranger !== undefined || !seeds.every(Number.isSafeInteger) || !(Number(seconds ?? 0) >= 0)) {
    console.error(
      stranger === undefined ? USAGE : `there is no branch ${stranger}; there are ${config.branches.map(({ name }) => name).join(', ')}`,
    )
    process.exit(2)
  }
  const stop = new AbortController()
  const stopped = new Error('the study was stopped')
  const end = () => stop.abort(stopped)
  const timer = seconds === undefined ? undefined : setTimeout(end, 1000 * Number(seconds))
  // A second Ctrl-C ends the process at once.
  process.once('SIGINT', end)
  const began = performance.now()
  const say = (line: string) => console.log(`${((performance.now() - began) / 1000).toFixed(1).padStart(7)} s  ${line}`)
  try {
    const data = await openStudyData(values.data, config)
    const backend = await BACKENDS[values.backend]()
    try {
      for (const seed of seeds) {
        say(`seed ${seed} on ${backend.device}`)
        await runSeed({ backend, config, data, seed, out, work, commit, branches: branch, startOnly, signal: stop.signal, say })
      }
      say('done')
    } finally {
      backend.dispose()
    }
  } catch (error) {
    if (error !== stopped) throw error
    say('stopped; the same command goes on')
  } finally {
    clearTimeout(timer)
    process.off('SIGINT', end)
  }
  return true
}
