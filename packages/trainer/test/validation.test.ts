import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { densePolicy, phsaPolicy, SparsitySchedule } from '@phsa/core'
import { nextTokenBatch } from '@phsa/model'
import { expect, test } from 'vitest'
import { createTrainer } from '../src/create-trainer.js'
import { heldOutBatches } from '../src/evaluation/held-out-batches.js'
import type { StepEvent } from '../src/step-event.js'
import type { TrainerOptions } from '../src/trainer-options.js'
import { type ValidationOptions, validate } from '../src/validation.js'
import { letterData, letterPunctuation, tinyModel, tinyPhsa } from './tiny-model.js'

const TEXT = 'a rose is a rose, and a thorn is a thorn. the rose has thorns, the thorn has no rose.'
const HELD_OUT = 'a thorn and a rose, a rose and a thorn. no thorn is a rose, and no rose is without thorns.'

async function settings(changes: Partial<TrainerOptions> = {}): Promise<TrainerOptions> {
  return {
    model: await tinyModel(),
    data: await letterData(TEXT),
    punctuation: letterPunctuation,
    batch: { sequences: 1, tokens: 40 },
    steps: 7,
    schedule: new SparsitySchedule([
      { kind: 'dense', share: 4 / 7 },
      { kind: 'sparse', share: 3 / 7, topK: 1 },
    ]),
    optimizer: { learningRate: 0.01 },
    ...changes,
  } as TrainerOptions
}

async function validation(every = 3): Promise<ValidationOptions> {
  const batches = heldOutBatches(await letterData(HELD_OUT), { windows: 2, tokens: 60, punctuation: letterPunctuation })
  return { batches, every }
}

async function collect(options: TrainerOptions): Promise<StepEvent[]> {
  const events: StepEvent[] = []
  for await (const event of createTrainer(options)) events.push(event)
  return events
}

test('every third step and the last are validated, with the attention of the step, and logged', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'phsa-validation-'))
  try {
    const log = join(folder, 'steps.jsonl')
    const options = await settings({ validation: await validation(), log })
    const events = await collect(options)
    expect(events.map((event) => event.validation !== undefined)).toEqual([false, false, true, false, false, true, true])
    const { loss, perplexity } = events[6].validation!
    expect(perplexity).toBeCloseTo(Math.exp(loss), 10)
    const { model } = options
    const [sparse, dense] = [phsaPolicy, densePolicy].map((policy) => ({ policy, phsa: { ...model.phsa, topK: 1 } }))
    expect(await validate(model, options.validation!.batches, sparse)).toEqual({ loss, perplexity })
    expect((await validate(model, options.validation!.batches, dense)).loss).not.toBe(loss)
    const lines = (await readFile(log, 'utf8')).trimEnd().split('\n')
    expect(lines.map((line) => JSON.parse(line).validation)).toEqual(events.map((event) => event.validation))
  } finally {
    await rm(folder, { recursive: true })
  }
})

test('the loss is the mean over all predicted tokens, not over batches', async () => {
  const model = await tinyModel()
  const [long, short] = [
    nextTokenBatch([Int32Array.from({ length: 30 }, (_, index) => 1 + (index % 7))]),
    nextTokenBatch([Int32Array.of(3, 9, 4)]),
  ]
  const attention = { policy: densePolicy, phsa: tinyPhsa }
  const [first, second, both] = [
    await validate(model, [long], attention),
    await validate(model, [short], attention),
    await validate(model, [long, short], attention),
  ]
  expect(both.loss).toBeCloseTo((29 * first.loss + 2 * second.loss) / 31, 10)
})

test.each(['phsa', 'random'])('parameters and numbers are bit for bit those of the run without it, with policy %s', async (policy) => {
  const [plain, validated] = [await settings({ policy }), await settings({ policy, validation: await validation(1) })]
  const expected = await collect(plain)
  const events = await collect(validated)
  const numbers = ({ tokensPerSecond: _, validation: __, ...event }: StepEvent) => event
  expect(events.map(numbers)).toEqual(expected.map(numbers))
  for (const [name, tensor] of plain.model.parameters) {
    const other = validated.model.parameters.get(name)!
    expect(await validated.model.backend.memory.download(other)).toEqual(await plain.model.backend.memory.download(tensor))
  }
})

test.each([
  ['validation.every', async () => ({ ...(await validation()), every: 0 }), 'every is 0'],
  ['validation.batches', async () => ({ batches: [] }), 'no token'],
  ['validation.batches', async () => ({ batches: [nextTokenBatch([new Int32Array(300).fill(1)])] }), '300 tokens'],
  ['validation.batches', async () => ({ batches: [nextTokenBatch([Int32Array.of(1, 99, 2)])] }), 'the id 99'],
])('refuses wrong %s before the first step: %#', async (setting, wrong, message) => {
  const options = await settings({ validation: await wrong() })
  const attempt = async () => createTrainer(options)
  await expect(attempt()).rejects.toMatchObject({ setting, message: expect.stringContaining(message) })
})
