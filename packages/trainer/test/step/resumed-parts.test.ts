import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type PhsaConfig, SparsitySchedule } from '@phsa/core'
import { loadModel } from '@phsa/model'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { checkpointName } from '../../src/checkpoint/checkpoint-folder.js'
import { readSafetensors } from '../../src/checkpoint/safetensors-disk.js'
import { createTrainer } from '../../src/create-trainer.js'
import type { TrainerOptions } from '../../src/trainer-options.js'
import { letterData, letterPunctuation, tinyModel } from '../tiny-model.js'

let folder: string
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'phsa-parts-'))
})
afterEach(() => rm(folder, { recursive: true, force: true }))

const NAME = 'model.layers.0.mlp.up_proj.weight'
const TEXT = 'when the moon is full, the sea is high. when the moon is new, the sea is low.'

/** Trains up to a step and returns what the model attends with then. */
async function run(options: Partial<TrainerOptions> & { steps: number }, dtype: 'f32' | 'bf16' = 'f32'): Promise<PhsaConfig> {
  const model = await tinyModel({ dtype })
  const settings = {
    model,
    data: await letterData(TEXT),
    punctuation: letterPunctuation,
    batch: { sequences: 1, tokens: 40 },
    schedule: new SparsitySchedule([{ kind: 'sparse', share: 1, topK: 1, distillation: true }]),
    optimizer: { learningRate: 0.01, decay: 'none', warmupSteps: 0 },
    checkpoint: { folder, every: 1, keep: 5 },
    ...options,
  } as TrainerOptions
  for await (const { skipped } of createTrainer(settings)) expect(skipped).toBe(false)
  return model.phsa
}

/** A tensor of the checkpoint after a step. */
async function stored(step: number, file: string, name: string): Promise<Float32Array> {
  for await (const [found, { data }] of readSafetensors(join(folder, checkpointName(step), file))) {
    if (found === name) return Float32Array.from(data)
  }
  throw new Error(`${file} lacks ${name}`)
}

test.each(['f32', 'bf16'] as const)('an average that a run begins late starts from the weights of then, %s', async (dtype) => {
  await run({ steps: 2 }, dtype)
  await run({ steps: 3, resume: folder, ema: { decay: 0.5 } }, dtype)
  // A 16-bit run's f32 copies are what is averaged.
  const weight = (step: number) =>
    stored(step, ...((dtype === 'f32' ? ['model.safetensors', NAME] : ['optimizer.safetensors', `${NAME}.master`]) as [string, string]))
  const [before, after, average] = [await weight(2), await weight(3), await stored(3, 'optimizer.safetensors', `${NAME}.average`)]
  expect(after).not.toEqual(before)
  for (const [index, value] of average.entries()) expect(value).toBeCloseTo((before[index] + after[index]) / 2, 6)
})

test('a lambda that was learned is in the config.json, and stays where a resumed run learns it no more', async () => {
  const learned = await run({ steps: 3, distillation: { lambda: 'learned' } })
  const { phsa } = JSON.parse(await readFile(join(folder, checkpointName(3), 'config.json'), 'utf8'))
  expect(phsa.lambda).toEqual(learned.lambda)
  expect((learned.lambda as number[][]).flat().some((value) => value !== 0.5)).toBe(true)
  const { backend } = await tinyModel()
  expect((await loadModel(join(folder, checkpointName(3)), { backend })).model.phsa).toEqual(learned)
  expect((await run({ steps: 4, resume: folder })).lambda).toEqual(learned.lambda)
  // Also where the run of the checkpoint had learned it no more itself.
  expect((await run({ steps: 5, resume: folder })).lambda).toEqual(learned.lambda)
})
