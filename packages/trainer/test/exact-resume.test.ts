import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type DType, type ModelBackend, SparsitySchedule } from '@phsa/core'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { checkpointName } from '../src/checkpoint/checkpoint-folder.js'
import { createTrainer } from '../src/create-trainer.js'
import { heldOutBatches } from '../src/evaluation/held-out-batches.js'
import type { TrainerOptions } from '../src/trainer-options.js'
import type { TrainingData } from '../src/training-data.js'
import { testedBackends } from './backends.js'
import { letterData, letterPunctuation, tinyModel } from './tiny-model.js'

let folder: string
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'phsa-resume-'))
})
afterEach(() => rm(folder, { recursive: true, force: true }))

const TEXT =
  'when the moon is full, the sea is high. when the moon is new, the sea is low.\n\n\nthe fisher knows the moon, and the moon, the sea.'

/** Text where step 3 and step 10, the last one before the resume, meet a row that is no number: two rows a step. */
async function damagedData(): Promise<TrainingData> {
  const text = await letterData(TEXT)
  return {
    fingerprint: 'two damaged rows',
    rows: (options) => ({
      row: (index) => {
        const { sequences } = text.rows(options).row(index)
        const weight = index === 5 || index === 18 ? Number.NaN : 1
        return { sequences, targetWeights: sequences.map(({ length }) => new Float32Array(length).fill(weight)) }
      },
    }),
  }
}

/** All that a run has at once: micro-batches, stages with distillation, a learned lambda, an average of the weights, wsd, skipped steps, recall, validation, checkpoints and a log. */
async function settings(name: string, backend: ModelBackend, dtype: DType, policy: string): Promise<TrainerOptions & { log: string }> {
  const heldOut = await letterData('the sea is high when the moon is full, and low when the moon is new. the fisher knows.')
  return {
    model: await tinyModel({ backend, dtype }),
    data: await damagedData(),
    punctuation: letterPunctuation,
    batch: { sequences: 1, tokens: 40, accumulate: 2 },
    steps: 20,
    seed: 8,
    policy,
    schedule: new SparsitySchedule([
      { kind: 'dense', share: 0.3 },
      { kind: 'sparse', share: 0.7, topK: { from: 3, to: 1 }, distillation: true },
    ]),
    distillation: { rowsPerSequence: 6, ...(policy === 'phsa' && { lambda: 'learned' as const }) },
    ema: { decay: 0.9, validate: true },
    recall: { every: 6, rows: 8 },
    optimizer: { learningRate: 0.01, warmupSteps: 3, decay: 'wsd', decayShare: 0.4 },
    validation: { batches: heldOutBatches(heldOut, { windows: 2, tokens: 44, punctuation: letterPunctuation }), every: 4 },
    checkpoint: { folder: join(folder, name), every: 5 },
    log: join(folder, `${name}.jsonl`),
  }
}

async function run(options: TrainerOptions, stopAfter?: number): Promise<void> {
  const stop = new AbortController()
  for await (const event of createTrainer({ ...options, signal: stop.signal })) if (event.step === stopAfter) stop.abort()
}

/** The log without its times. */
async function logged({ log }: { log: string }): Promise<unknown[]> {
  const lines = (await readFile(log, 'utf8')).trimEnd().split('\n')
  return lines.map((line) => {
    const { tokensPerSecond: _, ...event } = JSON.parse(line)
    return event
  })
}

test.each([
  { dtype: 'f32', policy: 'phsa', ...testedBackends[0] },
  { dtype: 'bf16', policy: 'phsa', ...testedBackends[0] },
  { dtype: 'f32', policy: 'random', ...testedBackends[0] },
  { dtype: 'f32', policy: 'phsa', ...testedBackends[1] },
  { dtype: 'f32', policy: 'random', ...testedBackends[1] },
] as const)('ten steps, a resume and ten more are twenty, bit for bit: $policy in $dtype on $name', async ({ dtype, policy, create }) => {
  const backend = await create()
  const whole = await settings('whole', backend, dtype, policy)
  await run(whole)
  const parts = await settings('parts', backend, dtype, policy)
  await run(parts, 10)
  const { model } = await settings('parts', backend, dtype, policy)
  await run({ ...parts, model, resume: join(folder, 'parts') })

  const events = (await logged(whole)) as Record<string, unknown>[]
  expect(await logged(parts)).toEqual(events)
  expect(events.map(({ step }) => step)).toEqual(Array.from({ length: 20 }, (_, index) => index + 1))
  expect(events.filter(({ skipped }) => skipped).map(({ step }) => step)).toEqual([3, 10])
  expect(events.filter(({ validation }) => validation).map(({ step }) => step)).toEqual([4, 8, 12, 16, 20])
  expect(events.filter(({ recall }) => recall).map(({ step }) => step)).toEqual([6, 12, 18, 20])
  expect(events.filter(({ lambda }) => lambda).length).toBe(policy === 'random' ? 0 : 20)
  expect(events.filter(({ distillationLoss }) => distillationLoss).length).toBe(policy === 'random' ? 0 : 14)

  const last = checkpointName(20)
  const names = (await readdir(join(folder, 'whole', last))).sort()
  expect(names).toEqual(['config.json', 'manifest.json', 'model.safetensors', 'optimizer.safetensors', 'trainer.json'])
  for (const name of names) {
    const [expected, actual] = await Promise.all(['whole', 'parts'].map((run) => readFile(join(folder, run, last, name))))
    expect(actual.equals(expected), name).toBe(true)
  }
  backend.dispose()
})
