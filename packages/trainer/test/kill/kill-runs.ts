import assert from 'node:assert/strict'
import { watch } from 'node:fs'
import { mkdir, readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { RandomStream } from '@phsa/core'
import { startTraining, type TrainingProcess } from './training-process.js'
import type { UnbrokenRun } from './unbroken-run.js'

/** How many kills, of what. */
export interface KillOptions {
  readonly script: string
  readonly whole: UnbrokenRun
  /** Gets the runs. */
  readonly folder: string
  readonly kills: number
  readonly seed: number
  readonly onKill?: (kills: number) => void
}

/** What was killed; each of the runs ended as the unbroken one. */
export interface KillReport {
  readonly kills: number
  readonly runs: number
  /** Kills that left a half-written checkpoint. */
  readonly duringWrite: number
  /** Kills that left a half-removed one. */
  readonly duringRemoval: number
  /** Processes that went on from a checkpoint. */
  readonly resumes: number
}

const KEEP = 1

/**
 * Kills training processes at random instants and starts each again until its run is done. After every kill the checkpoints are compared with those of the
 * unbroken run, at the end of a run its log too.
 * @throws AssertionError for any difference
 */
export async function killRuns({ script, whole, folder, kills: wanted, seed, onKill }: KillOptions): Promise<KillReport> {
  const random = new RandomStream(seed)
  let [kills, runs, duringWrite, duringRemoval, resumes] = [0, 0, 0, 0, 0]
  while (kills < wanted) {
    const run = join(folder, `run-${runs++}`)
    for (let [isDone, newest] = [false, 0]; !isDone; ) {
      if (newest > 0) resumes++
      const training = startTraining({ script, folder: run, steps: whole.steps, keep: KEEP })
      if (kills < wanted) await killOnce(training, run, random, kills === 0)
      const { signal, code, steps, errors } = await training.end
      isDone = signal === null
      if (isDone) assert.deepEqual({ code, errors }, { code: 0, errors: '' })
      else kills++
      if (!isDone) onKill?.(kills)
      const before = newest
      newest = await whole.requireSame(run, KEEP)
      // It says a step after its checkpoint, so none that it said is lost; nor is one of the processes before it.
      assert.ok(newest >= Math.max(before, ...steps), `step ${Math.max(before, ...steps)} was done, ${newest} is the newest checkpoint`)
      if (steps.length > 0) assert.equal(steps[0], before + 1)
      const leftovers = (await readdir(run)).filter((name) => name.startsWith('.step-'))
      if (leftovers.some((name) => name.includes('.tmp'))) duringWrite++
      if (leftovers.some((name) => name.endsWith('.old'))) duringRemoval++
      if (isDone) assert.deepEqual([leftovers, newest], [[], whole.steps])
    }
    await whole.requireSameLog(run)
    await rm(run, { recursive: true })
  }
  return { kills, runs, duringWrite, duringRemoval, resumes }
}

/** Anywhere, and as often about the write of a checkpoint, which is the short part of a step; the first before there is one. */
async function killOnce(training: TrainingProcess, run: string, random: RandomStream, isFirst: boolean): Promise<void> {
  if (isFirst) await namesChange(run, training, 1)
  else if (random.below(2) === 0) {
    await namesChange(run, training, 1 + random.below(16))
    await delay(random.below(random.below(2) === 0 ? 3 : 12))
  } else {
    await training.ready
    await delay(random.below(400))
  }
  training.process.kill('SIGKILL')
}

/** Settles when names of checkpoints, half-written ones too, have changed so many times, or the run ends. */
async function namesChange(run: string, { end }: TrainingProcess, times: number): Promise<void> {
  await mkdir(run, { recursive: true })
  await new Promise<void>((resolve, reject) => {
    let left = times
    const watcher = watch(run, (_, changed) => {
      if (changed?.includes('step-') && --left === 0) watcher.close()
    })
    watcher.on('close', resolve).on('error', reject)
    end.then(() => watcher.close(), reject)
  })
}
