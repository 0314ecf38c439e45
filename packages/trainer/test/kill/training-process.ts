import { type ChildProcess, spawn } from 'node:child_process'
import { execPath } from 'node:process'

/** How a run ended, and what it said. */
export interface RunEnd {
  readonly signal: NodeJS.Signals | null
  readonly code: number | null
  /** Steps done in this process. */
  readonly steps: readonly number[]
  readonly errors: string
}

/** A training run in a process of its own. */
export interface TrainingProcess {
  readonly process: ChildProcess
  /** Settles when it is about to train, or has ended. */
  readonly ready: Promise<void>
  readonly end: Promise<RunEnd>
}

export interface ProcessOptions {
  /** Of `bundleChild`. */
  readonly script: string
  readonly folder: string
  readonly steps: number
  readonly keep: number
  /** Step after which it ends by itself, although there are more; default none. */
  readonly stopAfter?: number
  /** Largest file that it can write, in KiB: what a full disk does to a run, without a disk to fill. */
  readonly fileLimit?: number
}

/** Starts the script. */
export function startTraining({ script, folder, steps, keep, stopAfter = steps, fileLimit }: ProcessOptions): TrainingProcess {
  const command = [execPath, script, folder, String(steps), String(keep), String(stopAfter)]
  const limited = fileLimit === undefined ? command : ['bash', '-c', `ulimit -f ${fileLimit}; exec "$0" "$@"`, ...command]
  const child = spawn(limited[0], limited.slice(1), { stdio: ['ignore', 'pipe', 'pipe'] })
  let [said, errors] = ['', '']
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    errors += text
  })
  const end = new Promise<RunEnd>((resolve, reject) => {
    child.on('error', reject)
    child.on('close', (code, signal) => {
      const steps = said.split('\n').slice(1, -1).map(Number)
      resolve({ signal, code, steps, errors })
    })
  })
  const ready = new Promise<void>((resolve) => {
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      said += text
      resolve()
    })
    child.on('close', () => resolve())
  })
  return { process: child, ready, end }
}
