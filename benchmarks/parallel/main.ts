// Data-parallel training on the first two GPUs of this machine beside one of them, and what becomes of the job when a rank is killed: `bench-parallel` of the
// offline bundle starts it. About three minutes.
import { type StdioOptions, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { createInterface } from 'node:readline'
import { parseArgs } from 'node:util'
import { launchRanks } from '../../apps/cli/src/launch/launch-ranks.js'
import { stayWithLauncher } from '../../apps/cli/src/launch/stay-with-launcher.js'
import { measureRank, type RankReport, type StepsReport, trainOn } from './bench-rank.js'
import { freePort } from './free-port.js'
import { killRank } from './kill-rank.js'
import { killedRun } from './killed-run.js'
import { makePipes } from './make-pipes.js'
import { fullPlan, smallPlan } from './parallel-plan.js'

/** What two GPUs must make of one's tokens a second. */
const BAR = 1.85
/** What a job may take to end after a rank has died, seconds. */
const MOST_SECONDS = 60
/** How far apart losses of the same steps may be: bf16 gradients that are summed in another order. */
const LOSS_BOUND = 1e-3

const { values } = parseArgs({
  options: {
    out: { type: 'string' },
    commit: { type: 'string' },
    small: { type: 'boolean', default: false },
    // Without GPUs, on the reference backend: shows that the course of it works.
    dry: { type: 'boolean', default: false },
    // Of the processes that this one starts.
    role: { type: 'string' },
    pipes: { type: 'string' },
  },
})
const { out, commit, small, dry, role, pipes } = values
const plan = small || dry ? smallPlan(dry ? 'f32' : 'bf16') : fullPlan()

if (role === 'measure') await asRank(() => measureRank(plan, pipes, (report) => console.log(JSON.stringify(report))))
else if (role === 'train') await asRank(() => trainOn(plan, pipes, (report) => console.error(JSON.stringify(report))))
else if (role === 'bare') process.exitCode = await startBare()
else if (role === 'launch') process.exitCode = await launchRanks({ command: process.execPath, args: self('train'), size: 2 })
else if (out === undefined) {
  console.error('usage: --out FILE [--commit HASH] [--small] [--dry]')
  process.exitCode = 2
} else process.exitCode = await bench(out)

/** What becomes of a rank's errors: one line, and the exit code of a lost or missing GPU. */
async function asRank(run: () => Promise<void>): Promise<void> {
  stayWithLauncher()
  try {
    await run()
  } catch (error) {
    console.error(error instanceof Error ? error.message : String(error))
    process.exit(3)
  }
}

async function bench(file: string): Promise<number> {
  const folder = dry ? mkdtempSync(join(tmpdir(), 'phsa-parallel-')) : undefined
  try {
    const [one] = await runRanks(1, folder)
    const [first, second] = await runRanks(2, folder)
    const runs = plan.runs.map(({ name }) => compare(name, one, first, second))
    const [expected, found] = [one, first].map((reports) => stepsOf(reports, plan.runs[0].name).losses)
    const lossDistance = Math.max(...expected.map((loss, index) => Math.abs(loss - found[index])))
    const joined = first.find((report) => report.kind === 'joined')
    const measured = {
      format: 'phsa-parallel/1',
      createdAt: new Date().toISOString(),
      commit,
      device: joined?.device,
      joinedInSeconds: joined?.seconds,
      parameters: joined?.parameters,
      shape: { dtype: plan.dtype, sequences: plan.sequences, tokens: plan.tokens },
      lossDistance,
      runs,
    }
    // What is known is written before the next thing can go wrong.
    const write = (result: object) => writeFileSync(file, `${JSON.stringify(result, undefined, 2)}\n`)
    write(measured)
    const killed = [await kill('launch', 1, folder), await kill('launch', 0, folder), await kill('bare', 1, folder)]
    write({ ...measured, killed })
    const command = dry ? undefined : await phsaRun()
    write({ ...measured, killed, command })
    for (const { name, speedup, isSame, two } of runs) {
      console.log(
        `${name}: ${speedup.toFixed(3)}x one GPU (${two.tokensPerSecond.toFixed(0)} tokens/s), ${(100 * two.waitShare).toFixed(1)} % of a step waits, ranks ${isSame ? 'bit-identical' : 'DIFFER'}`,
      )
    }
    console.log(`losses of one GPU and of two with the same rows: apart by ${lossDistance.toExponential(1)}`)
    for (const { launcher, victim, code, seconds, reason, orphans } of killed) {
      console.log(
        `rank ${victim} killed (${launcher}): the job ended after ${seconds.toFixed(1)} s with ${code}, ${orphans} left behind: ${reason}`,
      )
    }
    if (command) console.log(`phsa train --gpus 2: ${JSON.stringify(command)}`)
    const isRight =
      runs.every(({ isSame }) => isSame) &&
      lossDistance < LOSS_BOUND &&
      killed.every(({ code, seconds, orphans }) => code === 3 && seconds < MOST_SECONDS && orphans === 0) &&
      (command === undefined || (command.killed.code === 3 && command.interrupted.code === 130 && command.resumed.code === 0))
    const isFast = runs.every(({ name, speedup }) => name !== 'topK 2' || speedup >= BAR)
    if (!isRight) console.error('WRONG: see above')
    else if (!isFast) console.error(`below the bar of ${BAR}x`)
    return isRight ? 0 : 1
  } finally {
    if (folder !== undefined) rmSync(folder, { recursive: true })
  }
}

function compare(name: string, one: readonly RankReport[], first: readonly RankReport[], second: readonly RankReport[]) {
  const [single, two, other] = [one, first, second].map((reports) => stepsOf(reports, name))
  return {
    name,
    one: single,
    two,
    speedup: two.tokensPerSecond / single.tokensPerSecond,
    isSame: two.digest === other.digest && two.losses.every((loss, index) => loss === other.losses[index]),
  }
}

function stepsOf(reports: readonly RankReport[], name: string): StepsReport {
  const found = reports.find((report): report is StepsReport => report.kind === 'steps' && report.name === name)
  if (!found) throw new Error(`a rank ended before ${name} was measured`)
  return found
}

/** What each rank of a group found out; of a group of one nobody else is told. */
async function runRanks(size: number, folder: string | undefined): Promise<RankReport[][]> {
  const pipes = folder === undefined ? [] : ['--pipes', makePipes(folder)]
  const port = await freePort()
  const ranks = Array.from({ length: size }, async (_, rank) => {
    const stdio: StdioOptions = ['ignore', 'pipe', 'inherit']
    const child = spawn(process.execPath, [...self('measure'), ...pipes], { env: placeOf(rank, size, port), stdio })
    const { stdout } = child
    if (!stdout) throw new Error(`rank ${rank} was not started`)
    const reports: RankReport[] = []
    createInterface(stdout).on('line', (line) => {
      if (rank === 0) console.log(line)
      // NCCL may print lines of its own.
      if (line.startsWith('{"kind":')) reports.push(JSON.parse(line) as RankReport)
    })
    await once(child, 'close')
    return reports
  })
  return Promise.all(ranks)
}

/** The command of the bundle, which lies beside this program; undefined where this one runs from its sources. */
async function phsaRun() {
  const program = join(dirname(process.argv[1]), 'main.js')
  if (!existsSync(program)) return undefined
  return killedRun(program, join(dirname(process.argv[1]), '../assets/text/valid.txt.gz'))
}

/** @param launcher `launch` is that of `phsa train --gpus`; `bare` lets a rank alone that is left, as where ranks are on machines of their own */
async function kill(launcher: 'launch' | 'bare', victim: number, folder: string | undefined) {
  const job = await killRank([...self(launcher), ...(folder === undefined ? [] : ['--pipes', makePipes(folder)])], victim, 'SIGKILL')
  return { launcher, ...job }
}

/** Starts both ranks and waits for them. @returns the exit code of one that ended by itself */
async function startBare(): Promise<number> {
  const port = await freePort()
  const ends = Array.from({ length: 2 }, async (_, rank) => {
    const stdio: StdioOptions = ['ignore', 'inherit', 'inherit']
    const [code] = await once(spawn(process.execPath, self('train'), { env: placeOf(rank, 2, port), stdio }), 'close')
    return code as number | null
  })
  return (await Promise.all(ends)).find((code) => code !== null) ?? 0
}

function placeOf(rank: number, size: number, port: number): NodeJS.ProcessEnv {
  return { ...process.env, RANK: `${rank}`, WORLD_SIZE: `${size}`, LOCAL_RANK: `${rank}`, MASTER_ADDR: '127.0.0.1', MASTER_PORT: `${port}` }
}

/** This program in another role. */
function self(role: string): string[] {
  const flags = [...(small ? ['--small'] : []), ...(dry ? ['--dry'] : []), ...(pipes === undefined ? [] : ['--pipes', pipes])]
  return [...process.execArgv, process.argv[1], '--role', role, ...flags]
}
