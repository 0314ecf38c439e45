import { defaultSchedule, isPhsaError, phsaConfig, reference, SparsitySchedule } from '@phsa/core'
import { expect, test } from 'vitest'
import { createTrainer } from '../../src/create-trainer.js'
import { LearnedLambda } from '../../src/step/learned-lambda.js'
import type { StepEvent } from '../../src/step-event.js'
import { planTraining, type TrainerOptions } from '../../src/trainer-options.js'
import type { TrainingData } from '../../src/training-data.js'
import { letterData, letterPunctuation, tinyConfig, tinyModel, tinyPhsa } from '../tiny-model.js'

const TEXT = 'the cat, it sat. the dog, it ran. the bird, it flew. the fish, it swam. the cow, it ate. the owl, it saw.'
const ADAM = { beta1: 0.9, beta2: 0.95, epsilon: 1e-8, weightDecay: 0.1, maxNorm: 1 }
const sparse = new SparsitySchedule([{ kind: 'sparse', share: 1, topK: 2, distillation: true }])
const batch = { sequences: 1, tokens: 96 }

async function collect(options: TrainerOptions): Promise<StepEvent[]> {
  const events: StepEvent[] = []
  for await (const event of createTrainer(options)) events.push(event)
  return events
}

/** Data in which no target counts: only the distillation loss teaches. */
async function distilledOnly(): Promise<TrainingData> {
  const text = await letterData(TEXT)
  return {
    fingerprint: 'no target counts',
    rows: (options) => ({
      row: () => {
        const { sequences } = text.rows(options).row(0)
        return { sequences, targetWeights: sequences.map(({ length }) => new Float32Array(length)) }
      },
    }),
  }
}

test('moves against its gradient and stays within 0 to 1, on the device and in the configuration too', async () => {
  const model = await tinyModel()
  const lambda = new LearnedLambda(model)
  for (let update = 0; update < 30; update++) lambda.update([Float32Array.of(0.01), Float32Array.of(-2)], 0.05, ADAM)
  expect(lambda.state).toMatchObject({ updates: 30, values: [[0], [1]] })
  expect(model.phsa.lambda).toEqual([[0], [1]])
  expect(await model.backend.memory.download(lambda.tensors[1])).toEqual(Float32Array.of(1))
  expect(lambda.summary).toEqual({ mean: 0.5, min: 0, max: 1 })
  lambda.dispose()
})

test('the first step is the rate itself, and a head without a gradient stays', async () => {
  const lambda = new LearnedLambda(await tinyModel())
  lambda.update([Float32Array.of(-3e-4), Float32Array.of(0)], 0.05, ADAM)
  expect(lambda.state.values[0][0]).toBeCloseTo(0.55, 4)
  expect(lambda.state.values[1][0]).toBe(0.5)
  lambda.dispose()
})

test('a state restored goes on as the unbroken one does, and one of another model is refused', async () => {
  const [whole, parts] = [new LearnedLambda(await tinyModel()), new LearnedLambda(await tinyModel())]
  const gradients = [Float32Array.of(0.7), Float32Array.of(-0.2)]
  for (let update = 0; update < 3; update++) whole.update(gradients, 0.01, ADAM)
  parts.restore(JSON.parse(JSON.stringify(whole.state)))
  for (const each of [whole, parts]) each.update(gradients, 0.01, ADAM)
  expect(parts.state).toEqual(whole.state)
  expect(() => parts.restore({ ...whole.state, mean: [[0, 0], [0]] })).toThrow('2 layers with 1 KV heads')
})

test('is taught by distillation alone: the loss falls, dense layers keep theirs, and the events tell', async () => {
  const model = await tinyModel({ phsa: phsaConfig({ denseLayers: [0] }, tinyPhsa), config: { ...tinyConfig, kvHeads: 2 } })
  const events = await collect({
    model,
    data: await distilledOnly(),
    punctuation: letterPunctuation,
    batch,
    steps: 12,
    schedule: sparse,
    // Next to nothing else moves.
    optimizer: { learningRate: 1e-9, weightDecay: 0, decay: 'none', warmupSteps: 0 },
    distillation: { lambda: { learningRate: 0.05 } },
  })
  const losses = events.map(({ distillationLoss }) => distillationLoss!)
  expect(losses.at(-1)).toBeLessThan(losses[0])
  const lambda = model.phsa.lambda as number[][]
  expect(lambda[0]).toEqual([0.5, 0.5])
  for (const value of lambda[1]) expect(Math.abs(value - 0.5)).toBeGreaterThan(0.01)
  const all = lambda.flat()
  expect(events.at(-1)!.lambda).toEqual({
    mean: all.reduce((sum, value) => sum + value, 0) / 4,
    min: Math.min(...all),
    max: Math.max(...all),
  })
})

test('steps that do not distil, and skipped ones, leave it alone', async () => {
  const model = await tinyModel()
  const text = await letterData(TEXT)
  const data: TrainingData = {
    fingerprint: 'row 3 is damaged',
    rows: (options) => ({
      row: (index) => {
        const { sequences } = text.rows(options).row(index)
        return { sequences, targetWeights: sequences.map(({ length }) => new Float32Array(length).fill(index === 3 ? Number.NaN : 1)) }
      },
    }),
  }
  const schedule = new SparsitySchedule([
    { kind: 'dense', tokens: 96 },
    { kind: 'sparse', tokens: 96, topK: 2 },
    { kind: 'sparse', tokens: 4 * 96, topK: 2, distillation: true },
  ])
  const events = await collect({
    model,
    data,
    punctuation: letterPunctuation,
    batch,
    steps: 5,
    schedule,
    distillation: { lambda: 'learned' },
  })
  const means = events.map(({ lambda }) => lambda!.mean)
  expect(events.map(({ skipped }) => skipped)).toEqual([false, false, false, true, false])
  expect(means.slice(0, 2)).toEqual([0.5, 0.5])
  expect(means[2]).not.toBe(0.5)
  expect(means[3]).toBe(means[2])
  expect(means[4]).not.toBe(means[3])
})

test('without the option nothing of it is there, and lambda stays', async () => {
  const model = await tinyModel()
  const [event] = await collect({ model, data: await letterData(TEXT), punctuation: letterPunctuation, batch, steps: 1, schedule: sparse })
  expect(event).not.toHaveProperty('lambda')
  expect(model.phsa.lambda).toBe(0.5)
})

test.each<[string, Partial<TrainerOptions>]>([
  ['policy mean-pool has none', { policy: 'mean-pool' }],
  ['policy infllm-v2 has none', { policy: 'infllm-v2' }],
  ['policy random has none', { policy: 'random' }],
  ['give punctuation', { punctuation: undefined }],
  ['coefficient above 0', { distillation: { lambda: 'learned', coefficient: 0 } }],
  ['no sparse stage of the schedule distils', { schedule: new SparsitySchedule([{ kind: 'sparse', share: 1, topK: 2 }]) }],
  ['learningRate is 0', { distillation: { lambda: { learningRate: 0 } } }],
  ["write 'learned'", { distillation: { lambda: true } } as unknown as Partial<TrainerOptions>],
])('is refused where nothing can teach it: %s', async (message, change) => {
  const settings = { punctuation: letterPunctuation, distillation: { lambda: 'learned' }, schedule: defaultSchedule() } as const
  const model = await tinyModel({ backend: await reference() })
  const options = { model, data: await letterData(TEXT), batch, steps: 1, ...settings, ...change } as TrainerOptions
  const error = await Promise.resolve()
    .then(() => planTraining(options))
    .catch((caught: unknown) => caught)
  expect(isPhsaError(error, 'invalid-config')).toBe(true)
  expect((error as Error).message).toContain(message)
})
