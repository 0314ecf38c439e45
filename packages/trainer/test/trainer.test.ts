import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { defaultSchedule, isPhsaError, POLICY_NAMES, phsaConfig, SparsitySchedule } from '@phsa/core'
import { loadModel, saveModel } from '@phsa/model'
import { expect, test } from 'vitest'
import { createTrainer } from '../src/create-trainer.js'
import { TextDataset } from '../src/data/text-dataset.js'
import type { StepEvent } from '../src/step-event.js'
import type { BatchOptions, TrainerOptions } from '../src/trainer-options.js'
import type { TrainingData } from '../src/training-data.js'
import { testedBackends } from './backends.js'
import { letterData, letterPunctuation, tinyModel, tinyPhsa } from './tiny-model.js'

const POEM = 'the cat sat on the mat, and the dog sat on the log. the cat saw the dog, the dog saw the cat.'

async function collect(options: TrainerOptions): Promise<StepEvent[]> {
  const events: StepEvent[] = []
  for await (const event of createTrainer(options)) events.push(event)
  return events
}

const dense = new SparsitySchedule([{ kind: 'dense', share: 1 }])

/** The same data with a weight for all targets of each row. */
function weighted(data: TrainingData, weightOf: (row: number) => number): TrainingData {
  return {
    fingerprint: `${data.fingerprint} weighted`,
    rows: (options) => ({
      row: (index) => {
        const { sequences } = data.rows(options).row(index)
        return { sequences, targetWeights: sequences.map(({ length }) => new Float32Array(length).fill(weightOf(index))) }
      },
    }),
  }
}

test('overfits a short text', async () => {
  const model = await tinyModel()
  const events = await collect({
    model,
    data: await letterData(POEM),
    batch: { sequences: 1, tokens: 48 },
    steps: 60,
    schedule: dense,
    optimizer: { learningRate: 0.02, weightDecay: 0, warmupSteps: 4 },
  })
  expect(events).toHaveLength(60)
  expect(events[0].loss).toBeGreaterThan(3)
  expect(events.at(-1)!.loss).toBeLessThan(1)
  expect(events.at(-1)).toMatchObject({ step: 60, tokens: 60 * 48, stage: 0, topK: 'dense', skipped: false })
})

test('turns sparse when the schedule says so', async () => {
  const events = await collect({
    model: await tinyModel(),
    data: await letterData(POEM),
    punctuation: letterPunctuation,
    batch: { sequences: 1, tokens: 64 },
    steps: 10,
    schedule: new SparsitySchedule([
      { kind: 'dense', share: 0.2 },
      { kind: 'sparse', share: 0.8, topK: { from: 3, to: 2 }, distillation: true },
    ]),
  })
  expect(events.map(({ topK }) => topK)).toEqual(['dense', 'dense', 3, 3, 3, 3, 2, 2, 2, 2])
  expect(events.map(({ stage }) => stage)).toEqual([0, 0, 1, 1, 1, 1, 1, 1, 1, 1])
  for (const { stage, distillationLoss } of events) {
    if (stage === 0) expect(distillationLoss).toBeUndefined()
    else expect(distillationLoss).toBeGreaterThan(0)
  }
})

test('distillation alone brings the choice of blocks closer to dense attention', async () => {
  const events = await collect({
    model: await tinyModel(),
    // No target counts, so the distillation loss is all that is learned; the text and its end fill a row: every step sees the same one.
    data: weighted(await letterData(POEM), () => 0),
    batch: { sequences: 1, tokens: POEM.length + 1 },
    steps: 12,
    schedule: new SparsitySchedule([{ kind: 'sparse', share: 1, topK: 2, distillation: true }]),
    optimizer: { learningRate: 0.002, weightDecay: 0, decay: 'none' },
  })
  const losses = events.map(({ distillationLoss }) => distillationLoss!)
  expect(events.every(({ loss }) => loss === 0)).toBe(true)
  for (let step = 1; step < losses.length; step++) expect(losses[step]).toBeLessThan(losses[step - 1])
  expect(losses.at(-1)).toBeLessThan(0.95 * losses[0])
})

test.each(POLICY_NAMES)('policy %s trains by its name: the loss falls', async (policy) => {
  // InfLLM v2 has blocks of 16 at least.
  const phsa = phsaConfig(policy === 'infllm-v2' ? { blockSize: 16, initTokens: 0, localTokens: 16 } : {}, tinyPhsa)
  const events = await collect({
    model: await tinyModel({ phsa }),
    data: await letterData(POEM),
    punctuation: letterPunctuation,
    // The text and its end fill a row: every step sees the same one.
    batch: { sequences: 1, tokens: POEM.length + 1 },
    steps: 6,
    schedule: new SparsitySchedule([{ kind: 'sparse', share: 1, topK: 2, distillation: true }]),
    policy,
    optimizer: { learningRate: 0.01, warmupSteps: 0, decay: 'none' },
  })
  expect(events.at(-1)!.loss).toBeLessThan(events[0].loss - 0.2)
  for (const { topK, distillationLoss } of events) {
    expect(topK).toBe(policy === 'dense' ? 'dense' : 2)
    expect(distillationLoss === undefined).toBe(['random', 'oracle', 'dense'].includes(policy))
  }
})

test.each(['phsa', 'random'])('computing activations again changes nothing of a run, nor do dense layers stop it, %s', async (policy) => {
  const runs = []
  for (const recompute of [false, true]) {
    const model = await tinyModel({ recompute, phsa: phsaConfig({ denseLayers: [0] }, tinyPhsa) })
    const schedule = new SparsitySchedule([{ kind: 'sparse', share: 1, topK: 2, distillation: true }])
    const settings = { data: await letterData(POEM), punctuation: letterPunctuation, batch: { sequences: 1, tokens: 64, accumulate: 2 } }
    const events = await collect({ model, ...settings, steps: 3, schedule, policy })
    runs.push(events.map((event) => ({ ...event, tokensPerSecond: 0 })))
  }
  expect(runs[1]).toEqual(runs[0])
})

test('goes on from a dense checkpoint with the same weights and no new parameters', async () => {
  const data = await letterData(POEM)
  const settings = { data, punctuation: letterPunctuation, batch: { sequences: 1, tokens: POEM.length + 1 } }
  const dense = await tinyModel()
  await collect({
    model: dense,
    ...settings,
    steps: 20,
    schedule: new SparsitySchedule([{ kind: 'dense', share: 1 }]),
    optimizer: { learningRate: 0.01 },
  })
  const folder = await mkdtemp(join(tmpdir(), 'phsa-dense-'))
  try {
    await saveModel(dense, folder)
    const { model } = await loadModel(folder, { backend: dense.backend })
    const weights = [...model.parameters]
    expect(weights.map(([name]) => name)).toEqual([...dense.parameters.keys()])
    const optimizer = { learningRate: 1e-4 }
    const events = await collect({ model, ...settings, steps: 2, schedule: defaultSchedule(0), optimizer })
    expect(events[0]).toMatchObject({ topK: 2, stage: 0 })
    // As good as the dense one left it, up to what sparsity costs.
    const [start] = await collect({ model: await tinyModel(), ...settings, steps: 1, schedule: defaultSchedule(0) })
    expect(events[0].loss).toBeLessThan(start.loss - 0.5)
    expect([...model.parameters]).toEqual(weights)
  } finally {
    await rm(folder, { recursive: true })
  }
})

test('leaves nothing behind on the backend but the model', async () => {
  const model = await tinyModel()
  const before = model.backend.memory.usage()
  const options = { model, data: await letterData(POEM), batch: { sequences: 2, tokens: 32 }, steps: 2 } satisfies TrainerOptions
  await collect(options)
  expect(model.backend.memory.usage()).toEqual(before)
  for await (const event of createTrainer(options)) {
    expect(event.step).toBe(1)
    break
  }
  expect(model.backend.memory.usage()).toEqual(before)
})

test.each(testedBackends)('a step without a finite loss is reported and changes nothing on $name', async ({ create }) => {
  const data = weighted(await letterData(POEM), (row) => (row === 1 ? Number.NaN : 1))
  const backend = await create()
  const model = await tinyModel({ backend })
  const options: TrainerOptions = { model, data, batch: { sequences: 1, tokens: 32 }, steps: 3, schedule: dense }
  const embedding = model.parameters.get('model.embed_tokens.weight')!
  const values: ArrayLike<number>[] = []
  const skipped: boolean[] = []
  for await (const event of createTrainer(options)) {
    values.push(await model.backend.memory.download(embedding))
    skipped.push(event.skipped)
    expect(Number.isFinite(event.loss)).toBe(!event.skipped)
  }
  expect(skipped).toEqual([false, true, false])
  expect(values[1]).toEqual(values[0])
  expect(values[2]).not.toEqual(values[1])
  backend.dispose()
})

test('a skipped step does not count in the bias correction of the next', async () => {
  const text = await letterData(POEM)
  const embeddingAfter = async (data: TrainingData, steps: number) => {
    const model = await tinyModel()
    const optimizer = { warmupSteps: 0, decay: 'none' } as const
    await collect({ model, data, batch: { sequences: 1, tokens: 32 }, steps, schedule: dense, optimizer })
    return model.backend.memory.download(model.parameters.get('model.embed_tokens.weight')!)
  }
  const skipping = weighted(text, (row) => (row === 0 ? Number.NaN : 1))
  const starting: TrainingData = {
    fingerprint: 'from row 1',
    rows: (options) => ({
      row: (index) =>
        weighted(text, () => 1)
          .rows(options)
          .row(index + 1),
    }),
  }
  expect(await embeddingAfter(skipping, 2)).toEqual(await embeddingAfter(starting, 1))
})

test('a row of another length than the batch has is named', async () => {
  const data: TrainingData = {
    fingerprint: 'uneven',
    rows: ({ sequenceTokens }) => ({ row: (index) => ({ sequences: [new Int32Array(index === 3 ? 9 : sequenceTokens).fill(1)] }) }),
  }
  const options: TrainerOptions = { model: await tinyModel(), data, batch: { sequences: 2, tokens: 16 }, steps: 3, schedule: dense }
  await expect(collect(options)).rejects.toThrow('row 3 of the data has 9 tokens')
})

test('ids past the vocabulary are refused before the first step', async () => {
  const data = new TextDataset([[1, 2, 3, 30, 4]], 0)
  const options = { model: await tinyModel(), data, batch: { sequences: 1, tokens: 4 }, steps: 1 }
  expect(() => createTrainer(options)).toThrow(/ids up to 30.*tokenizer/)
  expect(new TextDataset([[1]], 31).largestId).toBe(31)
})

test('sparse attention that the backend does not have is refused before the dense stage, not after it', async () => {
  const model = await tinyModel()
  const supports = model.backend.supports.bind(model.backend)
  model.backend.supports = (spec) => (spec.topK > 2 ? { ok: false, reason: 'topK is above 2.' } : supports(spec))
  const options = { model, data: await letterData(POEM), batch: { sequences: 1, tokens: 16 }, steps: 10 }
  const stages = (from: number) =>
    new SparsitySchedule([
      { kind: 'dense', share: 0.9 },
      { kind: 'sparse', share: 0.1, topK: { from, to: 1 } },
    ])
  expect(() => createTrainer({ ...options, schedule: stages(3) })).toThrow('reference: topK is above 2.')
  expect(createTrainer({ ...options, schedule: stages(2) }).steps).toBe(10)
})

test('too many skipped steps in a row end the run with a clear error', async () => {
  const data = weighted(await letterData(POEM), (row) => (row === 2 ? 1 : Number.NaN))
  const events: StepEvent[] = []
  const run = async () => {
    const options: TrainerOptions = {
      model: await tinyModel(),
      data,
      batch: { sequences: 1, tokens: 32 },
      steps: 20,
      schedule: dense,
      maxSkips: 3,
    }
    for await (const event of createTrainer(options)) events.push(event)
  }
  const error = await run().catch((caught: unknown) => caught)
  expect(isPhsaError(error, 'training-diverged')).toBe(true)
  expect((error as Error).message).toContain('3 steps in a row up to step 6')
  expect(events.map((event) => event.skipped)).toEqual([true, true, false, true, true, true])
})

test('a batch where no target counts has no loss and is no failure', async () => {
  const data = weighted(await letterData(POEM), () => 0)
  const [event] = await collect({ model: await tinyModel(), data, batch: { sequences: 1, tokens: 16 }, steps: 1, schedule: dense })
  expect(event).toMatchObject({ loss: 0, gradientNorm: 0, skipped: false })
})

test('a micro-batch of documents of one token has nothing to predict, and is no failure', async () => {
  const data: TrainingData = {
    fingerprint: 'crumbs',
    rows: ({ sequenceTokens }) => ({
      row: (index) => ({
        sequences: index === 1 ? Array.from({ length: sequenceTokens }, () => Int32Array.of(1)) : [new Int32Array(sequenceTokens).fill(1)],
      }),
    }),
  }
  const schedule = new SparsitySchedule([{ kind: 'sparse', share: 1, topK: 2, distillation: true }])
  const settings = { data, punctuation: letterPunctuation, steps: 2, schedule }
  const events = await collect({ ...settings, model: await tinyModel(), batch: { sequences: 1, tokens: 16, accumulate: 2 } })
  const big = await collect({ ...settings, model: await tinyModel(), batch: { sequences: 2, tokens: 16 } })
  expect(events.map(({ skipped }) => skipped)).toEqual([false, false])
  for (const [index, { loss }] of events.entries()) expect(loss).toBeCloseTo(big[index].loss, 5)
})

test('totalTokens is rounded up to whole rows, and a last step of fewer of them weighs each token as one big batch does', async () => {
  const settings = { data: await letterData(POEM), punctuation: letterPunctuation, schedule: dense, totalTokens: 16 * 11 - 5 }
  const run = async (batch: BatchOptions) => collect({ ...settings, model: await tinyModel({ dtype: 'f64' }), batch })
  const accumulated = await run({ sequences: 2, tokens: 16, accumulate: 2 })
  expect(accumulated.map(({ tokens }) => tokens)).toEqual([64, 128, 176])
  const big = await run({ sequences: 4, tokens: 16 })
  for (const [index, { loss, gradientNorm }] of big.entries()) {
    expect(accumulated[index].loss).toBeCloseTo(loss, 6)
    expect(accumulated[index].gradientNorm).toBeCloseTo(gradientNorm, 6)
  }
})

test('accumulation takes the rows of one big batch, and counts all their tokens', async () => {
  const settings = { data: await letterData(POEM), punctuation: letterPunctuation, steps: 4, schedule: dense }
  const big = await collect({ ...settings, model: await tinyModel({ dtype: 'f64' }), batch: { sequences: 4, tokens: 32 } })
  const small = await collect({ ...settings, model: await tinyModel({ dtype: 'f64' }), batch: { sequences: 2, tokens: 32, accumulate: 2 } })
  expect(small.map(({ tokens }) => tokens)).toEqual([128, 256, 384, 512])
  for (const [index, { loss, gradientNorm }] of big.entries()) {
    expect(small[index].loss).toBeCloseTo(loss, 6)
    expect(small[index].gradientNorm).toBeCloseTo(gradientNorm, 6)
  }
})

test('a loss that is not finite in one micro-batch skips the step', async () => {
  const data = weighted(await letterData(POEM), (row) => (row === 2 ? Number.NaN : 1))
  const model = await tinyModel()
  const events = await collect({ model, data, batch: { sequences: 1, tokens: 32, accumulate: 2 }, steps: 3, schedule: dense })
  expect(events.map(({ skipped }) => skipped)).toEqual([false, true, false])
})

test('a trainer is iterated once', async () => {
  const trainer = createTrainer({ model: await tinyModel(), data: await letterData(POEM), batch: { sequences: 1, tokens: 16 }, steps: 1 })
  for await (const event of trainer) expect(event.step).toBe(1)
  expect(() => trainer[Symbol.asyncIterator]()).toThrow('create another one')
})

test.each([
  ['batch.tokens', { batch: { sequences: 1, tokens: 1000 } }],
  ['batch.sequences', { batch: { sequences: 0, tokens: 16 } }],
  ['batch.accumulate', { batch: { sequences: 1, tokens: 16, accumulate: 0 } }],
  ['decayShare', { optimizer: { decayShare: 0.1 } }],
  ['steps', { steps: 0 }],
  ['steps', { totalTokens: 100 }],
  ['policy', { policy: 'best' }],
  // Of the model's blocks of 4, met in the last fifth of the run.
  ['blockSize', { policy: 'infllm-v2' }],
  ['seed', { seed: -1 }],
  ['beta1', { optimizer: { beta1: 1 } }],
  ['learningRate', { optimizer: { learningRate: -1 } }],
  ['distillation.coefficient', { distillation: { coefficient: -1 } }],
  ['ema.validate', { ema: { decay: 0.9, validate: true } }],
  ['peakTeraflops', { peakTeraflops: 0 }],
  ['checkpoint.every', { checkpoint: { folder: 'x', every: 0 } }],
])('refuses a wrong %s', async (setting, wrong) => {
  const data = await letterData(POEM)
  const options = { model: await tinyModel(), data, batch: { sequences: 1, tokens: 16 }, steps: 1, ...wrong } as unknown as TrainerOptions
  const error = await Promise.resolve()
    .then(() => createTrainer(options))
    .catch((caught: unknown) => caught)
  expect(isPhsaError(error, 'invalid-config')).toBe(true)
  expect((error as { setting: string }).setting).toBe(setting)
})
