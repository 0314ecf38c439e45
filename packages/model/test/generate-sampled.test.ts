import { type CapturedStep, type ModelBackend, PunctuationTable, phsaPolicy, RandomStream, type Tensor } from '@phsa/core'
import { expect, test } from 'vitest'
import { type DecoderModel, type GenerateOptions, generate, type SamplingSettings, tokenBatch } from '../src/index.js'
import { testedBackends } from './backends.js'
import { randomIds, sparsePhsa, tinyConfig, tinyModel } from './tiny-model.js'

const prompt = randomIds(33, 21)
const punctuation = new PunctuationTable(new Map([0, 5, 10, 15, 20, 25].map((id) => [id, '.'])), tinyConfig.vocabSize)
const maxNewTokens = 16

async function collect(model: DecoderModel, sampling?: SamplingSettings, more: Partial<GenerateOptions> = {}): Promise<number[]> {
  const ids: number[] = []
  for await (const id of generate(model, prompt, { maxNewTokens, punctuation, sampling, ...more })) ids.push(id)
  return ids
}

/** By the whole forward pass, again for each token; the draw by its definition. */
async function naive(model: DecoderModel, { temperature = 1, repetitionPenalty = 1, seed = 0 }: SamplingSettings): Promise<number[]> {
  const random = new RandomStream(seed)
  const ids = [...prompt]
  for (let made = 0; made < maxNewTokens; made++) {
    const tensor = model.logits(tokenBatch([Int32Array.from(ids)], punctuation), { policy: phsaPolicy, phsa: sparsePhsa })
    const logits = Array.from(await model.backend.memory.download(tensor)).slice(-tinyConfig.vocabSize)
    tensor.dispose()
    const penalized = logits.map((logit, id) => {
      if (!ids.includes(id)) return logit
      return logit > 0 ? logit / repetitionPenalty : logit * repetitionPenalty
    })
    const uniform = random.uniform()
    if (temperature === 0) {
      ids.push(penalized.indexOf(Math.max(...penalized)))
      continue
    }
    const masses = penalized.map((logit) => Math.exp(logit / temperature))
    const total = masses.reduce((sum, mass) => sum + mass, 0)
    const order = masses.map((_, id) => id).sort((a, b) => masses[b] - masses[a])
    let running = 0
    ids.push(
      order.find((id) => {
        running += masses[id] / total
        return running > uniform
      })!,
    )
  }
  return ids.slice(prompt.length)
}

test('the same seed draws the same tokens on every backend: those of the whole forward pass, whatever the chunks', async () => {
  for (const { create } of testedBackends) {
    const backend = await create()
    const model = await tinyModel(backend)
    const before = backend.memory.usage()
    for (const sampling of [{ temperature: 1.3, seed: 5 }, { seed: 6 }, { repetitionPenalty: 1.7, seed: 7 }]) {
      const expected = await naive(model, sampling)
      expect(await collect(model, sampling)).toEqual(expected)
      expect(await collect(model, sampling, { prefillChunk: 7 })).toEqual(expected)
    }
    expect(backend.memory.usage()).toEqual(before)
    backend.dispose()
  }
})

async function withModel(run: (model: DecoderModel, backend: ModelBackend) => Promise<void>): Promise<void> {
  const backend = await testedBackends[0].create()
  const model = await tinyModel(backend)
  const before = backend.memory.usage()
  await run(model, backend)
  expect(backend.memory.usage()).toEqual(before)
  backend.dispose()
}

test.each<SamplingSettings>([
  { temperature: 0 },
  { temperature: 0, topP: 0.5, seed: 3 },
  { temperature: 9, topK: 1, seed: 3 },
  { temperature: 9, topP: 1e-6, seed: 3 },
  { temperature: 9, minP: 1, seed: 3 },
])('$temperature, $topK, $topP, $minP leave only the likeliest token', (sampling) =>
  withModel(async (model) => {
    expect(await collect(model, sampling)).toEqual(await collect(model))
  }),
)

test('different seeds differ at a high temperature', () =>
  withModel(async (model) => {
    const texts = await Promise.all([1, 2, 3].map(async (seed) => (await collect(model, { temperature: 5, seed })).join(' ')))
    expect(new Set(texts).size).toBe(3)
  }))

test('the repetition penalty changes the greedy choice as its definition says', () =>
  withModel(async (model) => {
    const sampling = { temperature: 0, repetitionPenalty: 3 }
    const penalized = await collect(model, sampling)
    expect(penalized).toEqual(await naive(model, sampling))
    expect(penalized).not.toEqual(await collect(model))
  }))

test.each<[SamplingSettings, RegExp]>([
  [{ temperature: -0.1 }, /sampling\.temperature is -0\.1; it must be a number of at least 0/],
  [{ temperature: Number.NaN }, /sampling\.temperature is NaN/],
  [{ temperature: Number.POSITIVE_INFINITY }, /sampling\.temperature is Infinity/],
  [{ topK: 1.5 }, /sampling\.topK is 1\.5/],
  [{ topK: -1 }, /sampling\.topK is -1/],
  [{ topP: 0 }, /sampling\.topP is 0/],
  [{ topP: 1.1 }, /sampling\.topP is 1\.1/],
  [{ minP: -0.5 }, /sampling\.minP is -0\.5/],
  [{ minP: Number.NaN }, /sampling\.minP is NaN/],
  [{ repetitionPenalty: 0 }, /sampling\.repetitionPenalty is 0/],
  [{ seed: 2 ** 32 }, /sampling\.seed is 4294967296/],
])('%o is refused by its name', (sampling, message) =>
  withModel(async (model) => {
    await expect(collect(model, sampling)).rejects.toThrow(message)
  }),
)

test.each<SamplingSettings>([
  { temperature: 2, seed: 4 },
  { temperature: 2, repetitionPenalty: 1.5, seed: 4 },
])('a recorded step draws anew at each replay: %o', async (sampling) => {
  const plain = await testedBackends[0].create()
  const { memory } = plain
  let replays = 0
  // Records nothing, as the contract says, and runs the step at each replay into a tensor of the result's shape: logits for the penalty, else the id.
  const capture = async <T>(step: () => T): Promise<CapturedStep<T>> => {
    const result = sampling.repetitionPenalty ? memory.alloc([1, tinyConfig.vocabSize], 'f32') : memory.alloc([1], 'i32')
    return {
      result: result as T,
      replay: () => {
        replays++
        memory.scope(() => memory.copy(step() as Tensor, result))
      },
      dispose: () => result.dispose(),
    }
  }
  const recording: ModelBackend = {
    ...plain,
    supports: (spec) => plain.supports(spec),
    prepare: (specs) => plain.prepare(specs),
    dispose: () => plain.dispose(),
    capture,
  }
  const expected = await collect(await tinyModel(plain), sampling)
  const model = await tinyModel(recording)
  const before = memory.usage()
  expect(await collect(model, sampling)).toEqual(expected)
  expect(replays).toBe(maxNewTokens - 2)
  expect(memory.usage()).toEqual(before)
  plain.dispose()
})
