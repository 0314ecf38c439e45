import { watch } from 'node:fs'
import { mkdir, mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { RandomStream } from '@phsa/core'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { checkpointName, listCheckpoints } from '../../src/checkpoint-folder.js'
import { startTraining, type TrainingProcess } from './training-process.js'

/** Kills in all; `PHSA_KILLS=200 npx vitest run --project trainer kill` for a soak. */
const KILLS = Number(process.env.PHSA_KILLS ?? 6)
const SEED = Number(process.env.PHSA_KILL_SEED ?? 1)
const STEPS = 8

let folder: string
/** The run that nobody disturbs; it keeps every checkpoint. */
let whole: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'phsa-kill-'))
  whole = join(folder, 'whole')
  expect(await startTraining({ folder: whole, steps: STEPS, keep: STEPS }).end).toMatchObject({ code: 0, errors: '' })
})
afterAll(() => rm(folder, { recursive: true, force: true }))

/** Every checkpoint that has its name is the unbroken run's of that step, bit for bit. */
async function requireWholeCheckpoints(run: string): Promise<number> {
  const found = await listCheckpoints(run)
  for (const { path } of found) {
    const names = await readdir(path)
    expect(names.sort()).toEqual((await readdir(join(whole, basename(path)))).sort())
    for (const name of names) {
      const [expected, actual] = await Promise.all([join(whole, basename(path)), path].map((place) => readFile(join(place, name))))
      expect(actual.equals(expected), join(basename(path), name)).toBe(true)
    }
  }
  return found.at(-1)?.step ?? 0
}

async function logged(run: string): Promise<unknown[]> {
  const lines = (await readFile(`${run}.jsonl`, 'utf8')).trimEnd().split('\n')
  return lines.map((line) => {
    const { tokensPerSecond: _, ...event } = JSON.parse(line)
    return event
  })
}

/** Settles when a checkpoint's folder appears, under any name, or the run ends. */
async function writingBegins(run: string, { end }: TrainingProcess): Promise<void> {
  await mkdir(run, { recursive: true })
  await new Promise<void>((resolve, reject) => {
    const watcher = watch(run, (_, changed) => {
      if (changed?.includes('step-')) watcher.close()
    })
    watcher.on('close', resolve).on('error', reject)
    end.then(() => watcher.close(), reject)
  })
}

test(`a run that is killed ${KILLS} times ends as the unbroken one`, { timeout: 60_000 + KILLS * 10_000 }, async () => {
  const random = new RandomStream(SEED)
  let [kills, duringWrite, rounds] = [0, 0, 0]
  while (kills < KILLS) {
    const run = join(folder, `round-${rounds++}`)
    for (let isDone = false; !isDone; ) {
      const training = startTraining({ folder: run, steps: STEPS, keep: 2 })
      // Anywhere, and as often at the write of a checkpoint, which is the short part of a step; the first before there is one.
      const isFirst = kills === 0
      if (kills < KILLS) {
        if (isFirst || random.below(2) === 0) await writingBegins(run, training)
        else await training.ready
        await delay(isFirst ? 0 : random.below(random.below(2) === 0 ? 15 : 250))
        training.process.kill('SIGKILL')
      }
      const { signal, code, steps, errors } = await training.end
      isDone = signal === null
      if (isDone) expect({ code, errors }).toEqual({ code: 0, errors: '' })
      else kills++
      const newest = await requireWholeCheckpoints(run)
      if (isDone) expect(newest).toBe(STEPS)
      // It says a step after its checkpoint: none that it said is lost.
      if (steps.length > 0) expect(newest).toBeGreaterThanOrEqual(steps[steps.length - 1])
      const leftovers = (await readdir(run)).filter((name) => name.startsWith('.step-'))
      if (leftovers.length > 0) duringWrite++
      if (isDone) expect(leftovers).toEqual([])
    }
    expect(await logged(run)).toEqual(await logged(whole))
    await rm(run, { recursive: true })
  }
  if (process.env.PHSA_KILLS)
    console.log(`${kills} kills in ${rounds} runs of ${STEPS} steps, ${duringWrite} of them during the write of a checkpoint`)
})

// ulimit -f, which needs bash, stands for a disk that is full.
test.skipIf(process.platform === 'win32')(
  'a checkpoint that finds no room leaves the last one and says so',
  { timeout: 60_000 },
  async () => {
    const run = join(folder, 'full')
    expect(await startTraining({ folder: run, steps: STEPS, keep: 2, stopAfter: 2 }).end).toMatchObject({ code: 0, steps: [1, 2] })

    // The model's file fits, the optimizer's does not.
    const { code, steps, errors } = await startTraining({ folder: run, steps: STEPS, keep: 2, fileLimit: 300 }).end
    expect(code).toBe(1)
    expect(steps).toEqual([])
    expect(errors).toContain(`${checkpointName(3)} could not be written (EFBIG: file too large, write)`)
    expect(errors).toContain('earlier checkpoints are untouched')
    expect(await requireWholeCheckpoints(run)).toBe(2)
    expect((await readdir(run)).filter((name) => name.startsWith('.'))).toEqual([])

    expect(await startTraining({ folder: run, steps: STEPS, keep: 2 }).end).toMatchObject({ code: 0, errors: '' })
    expect(await requireWholeCheckpoints(run)).toBe(STEPS)
    expect(await logged(run)).toEqual(await logged(whole))
  },
)
