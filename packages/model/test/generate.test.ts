import { type CapturedStep, densePolicy, type ModelBackend, OutOfMemoryError, PunctuationTable, phsaPolicy, type Tensor } from '@phsa/core'
import { expect, test } from 'vitest'
import { type DecoderModel, type GenerateOptions, generate, tokenBatch } from '../src/index.js'
import { testedBackends } from './backends.js'
import { randomIds, sparsePhsa, tinyConfig, tinyModel } from './tiny-model.js'

const prompt = randomIds(33, 21)
const punctuation = new PunctuationTable(new Map([0, 5, 10, 15, 20, 25].map((id) => [id, '.'])), tinyConfig.vocabSize)

async function collect(model: DecoderModel, options: GenerateOptions, from = prompt): Promise<number[]> {
  const ids: number[] = []
  for await (const id of generate(model, from, options)) ids.push(id)
  return ids
}

/** Greedy by the whole forward pass, again for each token. */
async function naive(model: DecoderModel, count: number, policy = phsaPolicy): Promise<number[]> {
  const ids = [...prompt]
  for (let made = 0; made < count; made++) {
    const batch = tokenBatch([Int32Array.from(ids)], punctuation)
    const tensor = model.logits(batch, { policy, phsa: sparsePhsa })
    const last = Array.from(await model.backend.memory.download(tensor)).slice(-tinyConfig.vocabSize)
    tensor.dispose()
    ids.push(last.indexOf(Math.max(...last)))
  }
  return ids.slice(prompt.length)
}

for (const { name, create } of testedBackends) {
  test(`${name}: greedy ids are those of the whole forward pass, whatever the chunks, and nothing is left behind`, async () => {
    const backend = await create()
    const model = await tinyModel(backend)
    const before = backend.memory.usage()
    const expected = await naive(model, 12)
    expect(await collect(model, { maxNewTokens: 12, punctuation })).toEqual(expected)
    expect(await collect(model, { maxNewTokens: 12, punctuation, prefillChunk: 7 })).toEqual(expected)
    expect(await collect(model, { maxNewTokens: 12, punctuation, attention: 'dense' })).toEqual(await naive(model, 12, densePolicy))
    expect(backend.memory.usage()).toEqual(before)
    backend.dispose()
  })
}

async function withModel(run: (model: DecoderModel, backend: ModelBackend) => Promise<void>): Promise<void> {
  const backend = await testedBackends[0].create()
  const model = await tinyModel(backend)
  const before = backend.memory.usage()
  await run(model, backend)
  expect(backend.memory.usage()).toEqual(before)
  backend.dispose()
}

test('it stops before a stop token', () =>
  withModel(async (model) => {
    const ids = await collect(model, { maxNewTokens: 12, punctuation })
    const stop = ids.findIndex((id, index) => index > 2 && ids.indexOf(id) === index)
    expect(stop).toBeGreaterThan(2)
    expect(await collect(model, { maxNewTokens: 12, punctuation, stopTokenIds: [ids[stop]] })).toEqual(ids.slice(0, stop))
  }))

test('no tokens asked for, none given', () => withModel(async (model) => expect(await collect(model, { maxNewTokens: 0 })).toEqual([])))

test('a caller that stops asking frees the cache', () =>
  withModel(async (model) => {
    for await (const id of generate(model, prompt, { maxNewTokens: 5 })) {
      expect(id).toBeGreaterThanOrEqual(0)
      break
    }
  }))

test('an abort between tokens ends it with its reason', () =>
  withModel(async (model) => {
    const controller = new AbortController()
    const made: number[] = []
    const run = async () => {
      for await (const id of generate(model, prompt, { maxNewTokens: 9, signal: controller.signal })) {
        made.push(id)
        if (made.length === 2) controller.abort(new Error('enough'))
      }
    }
    await expect(run()).rejects.toThrow('enough')
    expect(made).toHaveLength(2)
  }))

test('an abort from a timer is heard during the prefill', () =>
  withModel(async (model) => {
    const controller = new AbortController()
    setTimeout(() => controller.abort(new Error('too slow')), 0)
    await expect(collect(model, { maxNewTokens: 1, prefillChunk: 1, signal: controller.signal })).rejects.toThrow('too slow')
  }))

/** Aborts while the download of that number, from 0, is on its way: a token is downloaded after each chunk of the prompt and after each step. */
function abortDuring(backend: ModelBackend, download: number): { readonly signal: AbortSignal; downloads: () => number } {
  const controller = new AbortController()
  const original = backend.memory.download.bind(backend.memory)
  let downloads = 0
  backend.memory.download = async (tensor) => {
    if (downloads++ === download) controller.abort(new Error('now'))
    return original(tensor)
  }
  return { signal: controller.signal, downloads: () => downloads }
}

test.each([
  ['the first chunk of the prompt', 0, []],
  ['a chunk in the middle', 2, []],
  ['the last chunk', 4, []],
  ['the second token', 5, [0]],
  ['the fourth token', 7, [0, 1, 2]],
])('an abort during %s ends it there: nothing more is computed or given', (_, download, given) =>
  withModel(async (model, backend) => {
    const ids = await collect(model, { maxNewTokens: 9, punctuation, prefillChunk: 7 })
    const { signal, downloads } = abortDuring(backend, download)
    const made: number[] = []
    const run = async () => {
      for await (const id of generate(model, prompt, { maxNewTokens: 9, punctuation, prefillChunk: 7, signal })) made.push(id)
    }
    await expect(run()).rejects.toThrow('now')
    expect(made).toEqual(given.map((index) => ids[index]))
    expect(downloads()).toBe(download + 1)
  }),
)

test('topK by call: the blocks of that call, whatever the model has', () =>
  withModel(async (model, backend) => {
    const withTopK = (topK: number) =>
      collect(model, { maxNewTokens: 12, punctuation, attention: { policy: phsaPolicy, phsa: { ...sparsePhsa, topK } } })
    for (const topK of [0, 1, 3]) {
      const other = await tinyModel(backend, { phsa: { ...sparsePhsa, topK } })
      expect(await withTopK(topK)).toEqual(await collect(other, { maxNewTokens: 12, punctuation }))
      other.dispose()
    }
    expect(await withTopK(0)).not.toEqual(await collect(model, { maxNewTokens: 12, punctuation }))
    expect(await withTopK(64)).toEqual(await collect(model, { maxNewTokens: 12, punctuation, attention: 'dense' }))
  }))

test('a signal that was aborted before starts nothing', () =>
  withModel(async (model) => {
    await expect(collect(model, { maxNewTokens: 1, signal: AbortSignal.abort(new Error('gone')) })).rejects.toThrow('gone')
  }))

test.each([
  [new Int32Array(0), { maxNewTokens: 1 }, /the prompt has no tokens/],
  [Int32Array.of(3, 29), { maxNewTokens: 1 }, /prompt\[1\] is 29; ids are 0 to 28/],
  [prompt, { maxNewTokens: 300 }, /33 tokens and 300 more were asked for; this model takes 256/],
  [prompt, { maxNewTokens: -1 }, /maxNewTokens is -1/],
  [prompt, { maxNewTokens: 1, prefillChunk: 0 }, /prefillChunk is 0/],
])('it refuses what it cannot do', (from, options, message) =>
  withModel(async (model) => {
    await expect(collect(model, options, from)).rejects.toThrow(message)
  }),
)

test('a prompt may fill the last position', () =>
  withModel(async (model) => {
    expect(await collect(model, { maxNewTokens: 1 }, randomIds(tinyConfig.maxPositions - 1))).toHaveLength(1)
  }))

test('a backend that can record a step replays it', async () => {
  const plain = await testedBackends[0].create()
  const { memory } = plain
  let replays = 0
  // Records nothing, as the contract says, and runs the step again at each replay into the tensor of the first result.
  const capture = async <T>(step: () => T): Promise<CapturedStep<T>> => {
    const result = memory.alloc([1], 'i32')
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
  const options = { maxNewTokens: 10, punctuation }
  const expected = await collect(await tinyModel(plain), options)
  const model = await tinyModel(recording)
  const before = memory.usage()
  expect(await collect(model, options)).toEqual(expected)
  expect(replays).toBe(8)
  expect(memory.usage()).toEqual(before)
  plain.dispose()
})

test('where a recording finds no room the step is run as it is', async () => {
  const plain = await testedBackends[0].create()
  let captures = 0
  const recording: ModelBackend = {
    ...plain,
    supports: (spec) => plain.supports(spec),
    prepare: (specs) => plain.prepare(specs),
    dispose: () => plain.dispose(),
    capture: async () => {
      captures++
      throw new OutOfMemoryError('no room for a recording')
    },
  }
  const options = { maxNewTokens: 6, punctuation }
  const expected = await collect(await tinyModel(plain), options)
  const model = await tinyModel(recording)
  const before = plain.memory.usage()
  expect(await collect(model, options)).toEqual(expected)
  expect(captures).toBe(1)
  expect(plain.memory.usage()).toEqual(before)
  plain.dispose()
})
