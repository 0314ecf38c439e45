import {
  attendStep,
  type DecodeLayersInput,
  type DType,
  densePolicy,
  finishLayer,
  infllmV2Policy,
  type ModelBackend,
  oraclePolicy,
  phsaConfig,
  phsaPolicy,
  projectHeads,
  type Tensor,
} from '@phsa/core'
import { expect, test, vi } from 'vitest'
import { type AttentionChoice, type DecoderModel, PagedDecoder } from '../src/index.js'
import { uploadChunk } from '../src/sequence-chunk.js'
import { testedBackends } from './backends.js'
import { punctuationOf, randomIds, relativeError, sparsePhsa, tinyConfig, tinyModel } from './tiny-model.js'

const LENGTH = 70

const choices: [string, AttentionChoice][] = [
  ['sparse', { policy: phsaPolicy, phsa: sparsePhsa }],
  ['dense', { policy: densePolicy, phsa: sparsePhsa }],
  [
    'sub-blocks, a lambda per head, a dense layer, a dense start',
    {
      policy: phsaPolicy,
      phsa: phsaConfig(
        {
          representatives: 2,
          denseLayers: [1],
          denseBelow: 30,
          lambda: [
            [0, 1],
            [0.5, 0.2],
            [0.3, 0.9],
          ],
        },
        sparsePhsa,
      ),
    },
  ],
  ['InfLLM v2', { policy: infllmV2Policy, phsa: phsaConfig({ blockSize: 16, initTokens: 0, localTokens: 16, topK: 1 }) }],
]

/** Logits of all tokens [LENGTH, V], worked off in these chunks. */
async function inChunks(model: DecoderModel, { policy, phsa }: AttentionChoice, ids: Int32Array, chunks: number[]): Promise<Float64Array> {
  const { memory } = model.backend
  const pageTokens = 2 * phsa.blockSize
  const pages = Math.ceil(ids.length / pageTokens)
  const decoder = new PagedDecoder(model, { attention: { policy, phsa }, pages, pageTokens })
  const logits: number[] = []
  let start = 0
  for (const count of chunks) {
    const part = ids.slice(start, start + count)
    const result = memory.scope(() => {
      const step = uploadChunk(memory, { ids: part, punctuation: punctuationOf(part), start }, policy.configure(phsa), {
        pages,
        pageTokens,
      })
      return decoder.logits(decoder.advance(step), memory.upload(Int32Array.from(part.keys()), [count]))
    })
    logits.push(...(await memory.download(result)))
    result.dispose()
    start += count
  }
  decoder.dispose()
  return Float64Array.from(logits)
}

async function expectAnySplit(backend: ModelBackend, choice: AttentionChoice, dtype: DType, bound: number): Promise<void> {
  const model = await tinyModel(backend, { dtype })
  const ids = randomIds(LENGTH, 12)
  const before = backend.memory.usage()
  const full: Tensor = model.logits({ ids, lengths: [LENGTH], punctuation: punctuationOf(ids) }, choice)
  const expected = await backend.memory.download(full)
  full.dispose()
  const singles = Array.from({ length: LENGTH }, () => 1)
  for (const chunks of [[LENGTH], singles, [1, 15, 16, 17, 21], [33, ...singles.slice(33)]]) {
    expect(relativeError(await inChunks(model, choice, ids, chunks), expected), chunks.join()).toBeLessThan(bound)
  }
  expect(backend.memory.usage()).toEqual(before)
  model.dispose()
}

for (const [name, choice] of choices) {
  // In f64 no near tie can fall otherwise, so the paged form, whose sums round otherwise, must agree to rounding.
  test(`prefill in any chunks and decode equal the whole forward pass in f64: ${name}`, async () => {
    const backend = await testedBackends[0].create()
    await expectAnySplit(backend, choice, 'f64', 1e-11)
    backend.dispose()
  })
}

for (const { name, create } of testedBackends) {
  test(`${name}: prefill in any chunks and decode equal the whole forward pass in f32`, async () => {
    const backend = await create()
    await expectAnySplit(backend, choices[0][1], 'f32', 1e-4)
    backend.dispose()
  })
}

test('a backend that has all layers at once is asked first, and goes layer by layer where it leaves a step', async () => {
  const [ids, chunks] = [randomIds(12, 12), [9, 1, 1, 1]]
  const plain = await testedBackends[0].create()
  const expected = await inChunks(await tinyModel(plain, { dtype: 'f64' }), choices[0][1], ids, chunks)
  const backend = await testedBackends[0].create()
  const decodeLayers = vi.fn((input: DecodeLayersInput) => (input.batch.queryTokens === 1 ? layersOneByOne(backend, input) : undefined))
  Object.assign(backend, { decodeLayers })
  const model = await tinyModel(backend, { dtype: 'f64' })
  expect(await inChunks(model, choices[0][1], ids, chunks)).toEqual(expected)
  expect(decodeLayers.mock.results.map(({ value }) => value !== undefined)).toEqual([false, true, true, true])
  for (const [{ layers }] of decodeLayers.mock.calls) expect(layers).toHaveLength(tinyConfig.layers)
  for (const used of [plain, backend]) used.dispose()
})

test('whoever watches each layer has each layer', async () => {
  const backend = await testedBackends[0].create()
  const decodeLayers = vi.fn()
  Object.assign(backend, { decodeLayers })
  const model = await tinyModel(backend)
  const decoder = new PagedDecoder(model, { attention: choices[0][1], pages: 1, pageTokens: 8 })
  const watch = vi.fn()
  backend.memory.scope(() => {
    const chunk = { ids: randomIds(1), punctuation: Uint8Array.of(0), start: 0 }
    decoder.advance(uploadChunk(backend.memory, chunk, sparsePhsa, { pages: 1, pageTokens: 8 }), watch)
  })
  expect([watch.mock.calls.length, decodeLayers.mock.calls.length]).toEqual([tinyConfig.layers, 0])
  backend.dispose()
})

/** What `decodeLayers` computes. */
function layersOneByOne(backend: ModelBackend, { layers, x, positions, rope, marks, epsilon, batch }: DecodeLayersInput): Tensor {
  return layers.reduce((input, { inputNorm, postNorm, cache, ...weights }) => {
    const heads = projectHeads(backend, { ...weights, x: input, norm: inputNorm, positions, rope, epsilon })
    const { out } = attendStep(backend.paged, cache, { ...heads, marks }, batch)
    return finishLayer(backend, { ...weights, x: input, out, norm: postNorm, epsilon })
  }, x)
}

test('a policy that needs what no cache keeps is refused, and leaves nothing behind', async () => {
  const backend = await testedBackends[0].create()
  const model = await tinyModel(backend)
  const before = backend.memory.usage()
  const options = { attention: { policy: oraclePolicy, phsa: sparsePhsa }, pages: 1, pageTokens: 4 }
  expect(() => new PagedDecoder(model, options)).toThrow(/the oracle policy does not work on a paged cache; generation takes phsa/)
  const badPages = { attention: { policy: phsaPolicy, phsa: sparsePhsa }, pages: 1, pageTokens: 5 }
  expect(() => new PagedDecoder(model, badPages)).toThrow(/pageTokens is 5/)
  expect(backend.memory.usage()).toEqual(before)
  backend.dispose()
})

test('the caches say what they hold', async () => {
  const backend = await testedBackends[0].create()
  const model = await tinyModel(backend)
  const before = backend.memory.usage().bytes
  const decoder = new PagedDecoder(model, { attention: { policy: phsaPolicy, phsa: sparsePhsa }, pages: 2, pageTokens: 8 })
  const lambdas = tinyConfig.layers * tinyConfig.kvHeads * 4
  expect(backend.memory.usage().bytes - before).toBe(decoder.bytes + lambdas)
  decoder.dispose()
  decoder.dispose()
  backend.dispose()
})
