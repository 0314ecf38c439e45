import { type ChildProcess, spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import type { RankReport } from './bench-rank.js'

/** How a job ended of which one rank was killed. Plain JSON. */
export interface KilledJob {
  readonly victim: number
  readonly signal: NodeJS.Signals
  /** Of the job; null where it had to be killed. */
  readonly code: number | null
  /** From the signal to the end of the job. */
  readonly seconds: number
  /** The last line of the job. */
  readonly reason: string
  /** What the ranks said after the signal. */
  readonly said: readonly string[]
  /** Ranks that lived on. */
  readonly orphans: number
}

/** Seconds that a job may take to come to its first steps, and to end. */
const LIMIT = 120
/** Of a rank's report on stderr, which has its rank before it where the launcher passes it on. */
const REPORT = /(?:^|^rank \d+: )(\{"kind":.*\})$/

/** Starts a job through the launcher of `phsa train --gpus`, kills one rank once all train, and waits for the end. */
export async function killRank(command: readonly string[], victim: number, signal: NodeJS.Signals): Promise<KilledJob> {
  const launcher = spawn(process.execPath, command, { stdio: ['ignore', 'ignore', 'pipe'] })
  const limit = setTimeout(() => launcher.kill('SIGKILL'), 1000 * LIMIT)
  const lines: string[] = []
  const ids = new Map<number, number>()
  const trains = new Promise<void>((resolve, reject) => {
    createInterface(launcher.stderr).on('line', (line) => {
      const report = REPORT.exec(line)?.[1]
      if (report === undefined) {
        lines.push(line)
        return
      }
      const { kind, rank, pid } = JSON.parse(report) as Extract<RankReport, { kind: 'training' }>
      if (kind === 'training') ids.set(rank, pid)
      if (ids.size === 2) resolve()
    })
    launcher.on('close', () => reject(new Error(`the job ended before its ranks trained: ${lines.join(' | ')}`)))
  })
  const end = endOf(launcher)
  await trains
  const before = lines.length
  const started = performance.now()
  process.kill(ids.get(victim)!, signal)
  const code = await end
  const seconds = (performance.now() - started) / 1000
  clearTimeout(limit)
  const orphans = [...ids.values()].filter(isAlive)
  for (const id of orphans) process.kill(id, 'SIGKILL')
  return { victim, signal, code, seconds, reason: lines.at(-1) ?? '', said: lines.slice(before), orphans: orphans.length }
}

function endOf(child: ChildProcess): Promise<number | null> {
  return new Promise((resolve) => {
    child.on('close', resolve)
  })
}

function isAlive(id: number): boolean {
  try {
    return process.kill(id, 0)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ESRCH') return false
    throw error
  }
}
