import {
  type AttentionSpec,
  attendStep,
  attentionSpec,
  type CachedLayer,
  type DecodeLayersInput,
  denseSpec,
  finishLayer,
  type ModelBackend,
  type PagedBatch,
  PHSA_4K,
  projectHeads,
  type Tensor,
} from '@phsa/core'
import { relativeError } from '@phsa/core/testing'
import koffi from 'koffi'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { buildEmulation, missingCompiler } from './build-emulation.js'
import { emulatedCuda } from './emulated-cuda.js'
import { oneSequenceBatch } from './one-sequence-batch.js'

const [WIDTH, INNER, HEADS, KV_HEADS, HEAD_DIM] = [1024, 3072, 16, 8, 128]
const [PAGE_TOKENS, PAGES, BOUND, EPSILON] = [32, 80, 2e-2, 1e-6]
const missing = missingCompiler()
const SPEC: AttentionSpec = {
  ...attentionSpec(PHSA_4K, { heads: HEADS, kvHeads: KV_HEADS, headDim: HEAD_DIM, dtype: 'bf16' }),
  ...{ blockSize: 16, initTokens: 16, localTokens: 32, topK: 3, denseBelow: 0 },
}

/** PHSA_EMULATION=all runs these too: a step of a layer of this width takes a second, and they say little that the others do not. */
const EVERY_CASE = process.env.PHSA_EMULATION === 'all'
const OTHER_CASES: [string, number, number, readonly AttentionSpec[]][] = [
  ['the first tokens', 0, 3, [SPEC, denseSpec(SPEC)]],
  ['by sums', 158, 3, [{ ...SPEC, score: 'logit' }]],
  ['more than a tile a warp, by sums and dense', 2094, 2, [{ ...SPEC, score: 'logit' }, denseSpec({ ...SPEC, score: 'logit' })]],
]

describe.skipIf(missing)(`all layers at once on an emulated GPU${missing ? ` (skipped: ${missing})` : ''}`, { timeout: 600_000 }, () => {
  let backend: ModelBackend
  let weights: Omit<CachedLayer, 'cache'>
  beforeAll(async () => {
    const emulateGpu = koffi.load(await buildEmulation()).func('void phsa_emulate_gpu(int, int)')
    emulateGpu(132, 227 * 1024)
    backend = await emulatedCuda(true)
    weights = {
      inputNorm: numbers([WIDTH], 1, 1),
      postNorm: numbers([WIDTH], 1, 2),
      q: numbers([HEADS * HEAD_DIM, WIDTH], 0.05, 3),
      k: numbers([KV_HEADS * HEAD_DIM, WIDTH], 0.05, 4),
      v: numbers([KV_HEADS * HEAD_DIM, WIDTH], 0.05, 5),
      qNorm: numbers([HEAD_DIM], 2, 6),
      kNorm: numbers([HEAD_DIM], 2, 7),
      o: numbers([WIDTH, HEADS * HEAD_DIM], 0.05, 8),
      gate: numbers([INNER, WIDTH], 0.05, 9),
      up: numbers([INNER, WIDTH], 0.05, 10),
      down: numbers([WIDTH, INNER], 0.05, 11),
    }
  }, 600_000)
  afterAll(() => backend.dispose())

  test.each<[string, number, number, readonly AttentionSpec[]]>([
    ['the first token', 0, 1, [SPEC]],
    ['over the end of a block and of a page', 159, 2, [SPEC, denseSpec(SPEC)]],
    ['more than a tile a warp', 2094, 1, [SPEC]],
    ...(EVERY_CASE ? OTHER_CASES : []),
  ])('gives what its parts give: %s', async (_name, held, steps, specs) => {
    const { memory, paged } = backend
    const lambda = memory.upload(new Float32Array(KV_HEADS).fill(0.4), [KV_HEADS])
    const layersOf = () =>
      specs.map((spec) => ({ ...weights, cache: paged.createCache({ spec, pages: PAGES, pageTokens: PAGE_TOKENS, lambda }) }))
    const [own, parts] = [layersOf(), layersOf()]
    if (held > 0) {
      const k = numbers([held, KV_HEADS, HEAD_DIM], 2, 12)
      const v = numbers([held, KV_HEADS, HEAD_DIM], 1, 13)
      const marks = marksOf(0, held)
      for (const { cache } of [...own, ...parts]) paged.append(cache, k, v, marks, batchOf(0, held))
    }
    for (let token = held; token < held + steps; token++) {
      const input = (layers: readonly CachedLayer[]): DecodeLayersInput => ({
        ...{ layers, x: numbers([1, WIDTH], 1, token), marks: marksOf(token, 1), batch: batchOf(token, 1), epsilon: EPSILON },
        ...{ positions: memory.upload(Int32Array.of(token % 16), [1]), rope },
      })
      const output = backend.decodeLayers!(input(own))!
      const expected = composed(input(parts))
      expect(relativeError(await memory.download(output), await memory.download(expected))).toBeLessThan(BOUND)
    }
    // The caches hold the same.
    const q = numbers([1, HEADS, HEAD_DIM], 3, 14)
    for (const [index, { cache }] of own.entries()) {
      const batch = batchOf(held + steps - 1, 1)
      const [selected, other] = [cache, parts[index].cache].map((cache) => paged.selectBlocks(cache, q, batch))
      expect(await memory.download(selected)).toEqual(await memory.download(other))
      const [out, otherOut] = [cache, parts[index].cache].map((cache) => paged.attend(cache, q, selected, batch).out)
      expect(relativeError(await memory.download(out), await memory.download(otherOut))).toBeLessThan(BOUND)
    }
    for (const { cache } of [...own, ...parts]) cache.dispose()
  })

  let rope: DecodeLayersInput['rope']
  beforeAll(() => {
    const table = (value: (index: number) => number) =>
      backend.memory.upload(
        Float32Array.from({ length: 16 * 64 }, (_, index) => value(index * 0.1)),
        [16, 64],
      )
    rope = { cos: table(Math.cos), sin: table(Math.sin) }
  })

  function composed({ layers, x, positions, marks, epsilon, batch }: DecodeLayersInput): Tensor {
    return layers.reduce((input, { inputNorm, postNorm, cache, ...layer }) => {
      const heads = projectHeads(backend, { ...layer, x: input, norm: inputNorm, positions, rope, epsilon })
      const { out } = attendStep({ ...backend.paged, step: undefined }, cache, { ...heads, marks }, batch)
      return finishLayer(backend, { ...layer, x: input, out, norm: postNorm, epsilon })
    }, x)
  }

  function batchOf(first: number, count: number): PagedBatch {
    return oneSequenceBatch(backend.memory, { pages: PAGES, pageTokens: PAGE_TOKENS, topK: SPEC.topK, stride: 7 }, first, count)
  }

  function marksOf(first: number, count: number) {
    return backend.memory.upload(
      Float32Array.from({ length: count }, (_, row) => ((first + row) % 5 === 0 ? 1 : 0)),
      [count],
    )
  }

  /** bf16 numbers of both signs that follow from their place. */
  function numbers(shape: readonly number[], scale: number, seed: number): Tensor {
    const count = shape.reduce((product, extent) => product * extent, 1)
    let state = seed * 2654435761 + 1
    const values = Float32Array.from({ length: count }, () => {
      state = (Math.imul(state, 1664525) + 1013904223) | 0
      return (state / 2 ** 31) * scale
    })
    return backend.memory.upload(values, shape, 'bf16')
  }
})
