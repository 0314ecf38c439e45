import { type ChildProcess, spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

/** What `phsa train --gpus 2` does when a rank is killed, when it is interrupted, and when it goes on. Plain JSON. */
export interface KilledRun {
  /** Ranks killed: the end of the command. */
  readonly killed: RunEnd
  /** Ctrl-C. */
  readonly interrupted: RunEnd
  /** The run that went on after both. */
  readonly resumed: RunEnd
  /** Whether its model has the bytes of an undisturbed run's. */
  readonly isSame: boolean
}

/** How a command ended. */
interface RunEnd {
  readonly code: number | null
  /** From the signal, or from the start, to the end. */
  readonly seconds: number
  /** The last line of stderr, and of stdout. */
  readonly lines: readonly [string, string]
}

/** Seconds that one command may take. */
const LIMIT = 90
const CHECKPOINT_EVERY = 40
const STEPS = 200

/** Trains a small model on text with the command of the bundle: undisturbed, and killed, interrupted and resumed. */
export async function killedRun(program: string, text: string): Promise<KilledRun> {
  const folder = mkdtempSync(join(tmpdir(), 'phsa-killed-run-'))
  try {
    const [whole, broken] = ['whole', 'broken'].map((name) => join(folder, name))
    await startRun(program, text, whole).end
    const killed = await disturb(startRun(program, text, broken), broken, CHECKPOINT_EVERY, killSecondRank)
    const interrupted = await disturb(startRun(program, text, broken), broken, 2 * CHECKPOINT_EVERY, ({ pid = 0 }) =>
      process.kill(pid, 'SIGINT'),
    )
    const resumed = await startRun(program, text, broken).end
    return { killed, interrupted, resumed, isSame: hashOf(whole) === hashOf(broken) }
  } finally {
    rmSync(folder, { recursive: true })
  }
}

interface Run {
  readonly process: ChildProcess
  readonly end: Promise<RunEnd>
}

function startRun(program: string, text: string, out: string): Run {
  const sizes = ['--sequence-tokens', '512', '--sequences', '4', '--steps', `${STEPS}`, '--checkpoint-every', `${CHECKPOINT_EVERY}`]
  const command = [program, 'train', text, '--gpus', '2', '--backend', 'cuda', '--out', out, '--resume-or-start', ...sizes]
  const started = performance.now()
  const child = spawn(process.execPath, [...process.execArgv, ...command], { stdio: ['ignore', 'pipe', 'pipe'] })
  const limit = setTimeout(() => child.kill('SIGKILL'), 1000 * LIMIT)
  const said = ['', '']
  for (const [index, stream] of [child.stderr, child.stdout].entries()) {
    stream.setEncoding('utf8').on('data', (part: string) => {
      said[index] += part
    })
  }
  const end = new Promise<RunEnd>((resolve) => {
    child.on('close', (code) => {
      clearTimeout(limit)
      const [error, output] = said.map((all) => all.trimEnd().split('\n').at(-1) ?? '')
      resolve({ code, seconds: (performance.now() - started) / 1000, lines: [error, output] })
    })
  })
  return { process: child, end }
}

/** Does something to a run once its checkpoint of that step is there. @returns its end, counted from there */
async function disturb(run: Run, out: string, step: number, act: (launcher: ChildProcess) => void): Promise<RunEnd> {
  const checkpoint = join(out, 'checkpoints', `step-${String(step).padStart(8, '0')}`)
  while (!existsSync(checkpoint)) {
    if (run.process.exitCode !== null) return run.end
    await sleep(5)
  }
  const started = performance.now()
  act(run.process)
  return { ...(await run.end), seconds: (performance.now() - started) / 1000 }
}

/** Which process it is says its environment. */
function killSecondRank({ pid = 0 }: ChildProcess): void {
  const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ').map(Number)
  const victim = children.find((child) => readFileSync(`/proc/${child}/environ`, 'utf8').split('\0').includes('RANK=1'))
  if (victim === undefined) throw new Error('the job has no rank 1')
  process.kill(victim, 'SIGKILL')
}

function hashOf(out: string): string {
  return createHash('sha256')
    .update(readFileSync(join(out, 'model.safetensors')))
    .digest('hex')
}
