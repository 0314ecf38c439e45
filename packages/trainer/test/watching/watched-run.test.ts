import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { densePolicy } from '@phsa/core'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { createTrainer } from '../../src/create-trainer.js'
import type { StepEvent } from '../../src/step-event.js'
import type { TrainerOptions } from '../../src/trainer-options.js'
import { eachRecord } from '../../src/watching/event-record.js'
import { TrainingFlops } from '../../src/watching/training-flops.js'
import { letterData, letterPunctuation, tinyModel } from '../tiny-model.js'

let folder: string
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'phsa-watched-'))
})
afterEach(() => rm(folder, { recursive: true }))

const TEXT = 'a fox saw grapes, ripe and high. it leapt, it missed. they are sour, said the fox, and left. '.repeat(3)

async function run(options: Partial<TrainerOptions>): Promise<StepEvent[]> {
  const model = await tinyModel()
  const events: StepEvent[] = []
  const batch = { sequences: 2, tokens: 48 }
  const shared = { model, data: await letterData(TEXT), punctuation: letterPunctuation, batch, steps: 4 } as const
  for await (const event of createTrainer({ ...shared, ...options } as TrainerOptions)) events.push(event)
  model.dispose()
  return events
}

/** Steps of all records with a step, in TensorBoard's order of files. */
async function loggedSteps(events: string): Promise<number[]> {
  const files = (await readdir(events)).sort()
  const records = await Promise.all(files.map(async (name) => [...eachRecord(await readFile(join(events, name)))]))
  return records.flat().map(({ step }) => step)
}

test('a resumed run goes on in event files and log as one that was never stopped', async () => {
  const tensorboard = join(folder, 'events')
  const watched = { tensorboard, log: join(folder, 'log.jsonl'), checkpoint: { folder: join(folder, 'checkpoints'), every: 2 } }
  await run({ ...watched, steps: 2 })
  // Version, then the run as text beside the first step.
  expect(await loggedSteps(tensorboard)).toEqual([0, 1, 1, 2])
  await run({ ...watched, steps: 3, resume: join(folder, 'checkpoints') })
  // Version, restart and the run's text again.
  expect(await loggedSteps(tensorboard)).toEqual([0, 1, 1, 2, 0, 3, 3, 3])
  expect((await readFile(watched.log, 'utf8')).trimEnd().split('\n')).toHaveLength(3)
  await expect(run({ tensorboard })).rejects.toThrow('another run')
})

test('utilisation is model FLOPs over the peak in the time of the step, and absent where no peak is known', async () => {
  const events = await run({ policy: 'dense', steps: 1, peakTeraflops: 1e-6 })
  const [{ mfu, tokensPerSecond }] = events
  const { config, dtype, phsa } = await tinyModel()
  const rows = (await letterData(TEXT)).rows({ sequenceTokens: 48, seed: 0 })
  const lengths = [0, 1].flatMap((row) => rows.row(row).sequences.map(({ length }) => length))
  const flops = new TrainingFlops({ config, dtype }).ofStep(lengths, { policy: densePolicy, phsa })
  expect(mfu).toBeCloseTo(flops / (96 / tokensPerSecond) / 1e6, 6)
  expect((await run({ steps: 1 }))[0]).not.toHaveProperty('mfu')
})
