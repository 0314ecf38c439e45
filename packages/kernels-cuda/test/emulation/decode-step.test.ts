import {
  type AttentionSpec,
  attendStep,
  attentionSpec,
  denseSpec,
  type ModelBackend,
  type PagedBatch,
  type PagedCache,
  PHSA_4K,
} from '@phsa/core'
import { relativeError } from '@phsa/core/testing'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { missingCompiler } from './build-emulation.js'
import { emulatedCuda } from './emulated-cuda.js'
import { oneSequenceBatch } from './one-sequence-batch.js'

const PAGE_TOKENS = 16
const PAGES = 64
const BOUND = 1e-2
const missing = missingCompiler()
const SPEC: AttentionSpec = {
  ...attentionSpec(PHSA_4K, { heads: 3, kvHeads: 1, headDim: 32, dtype: 'bf16' }),
  ...{ blockSize: 8, initTokens: 8, localTokens: 16, topK: 7, denseBelow: 0 },
}

describe.skipIf(missing)(`a step of decoding on an emulated GPU${missing ? ` (skipped: ${missing})` : ''}`, { timeout: 600_000 }, () => {
  let backend: ModelBackend
  beforeAll(async () => {
    backend = await emulatedCuda()
  }, 600_000)
  afterAll(() => backend.dispose())

  // 64 candidates and fewer are ranked by a warp, more by a thread block.
  test.each<[string, number, Partial<AttentionSpec>, (token: number) => number]>([
    ['few candidates', 300, {}, (token) => token],
    ['as many as a warp ranks', 8 * 67 + 3, {}, (token) => token],
    ['more than a warp ranks', 8 * 90 + 2, {}, (token) => token],
    ['more, by sums', 8 * 90 + 2, { score: 'logit' }, (token) => token],
    ['equal blocks', 300, {}, (token) => token % 8],
    ['equal blocks, more than a warp ranks', 8 * 80, {}, (token) => token % 8],
    ['everything', 77, denseSpec(SPEC), (token) => token],
  ])('gives what its parts give, over the end of a block: %s', async (_name, held, change, seedOf) => {
    const spec = { ...SPEC, ...change }
    const { memory, paged } = backend
    const lambda = memory.upload(Float32Array.of(0.4), [1])
    const caches = [1, 2].map(() => paged.createCache({ spec, pages: PAGES, pageTokens: PAGE_TOKENS, lambda }))
    for (const cache of caches) append(cache, 0, held, seedOf)
    for (let token = held; token < held + 9; token++) {
      const batch = batchOf(token, 1)
      const tokens = {
        q: rows(token, 1, 3, (row) => row + 0.5),
        k: rows(token, 1, 1, seedOf),
        v: rows(token, 1, 1, seedOf),
        marks: marks(token, 1),
      }
      const own = paged.step!(caches[0], tokens, batch)!
      const composed = attendStep({ ...paged, step: undefined }, caches[1], tokens, batch)
      expect(await memory.download(own.selected)).toEqual(await memory.download(composed.selected))
      for (const name of ['out', 'lse'] as const) {
        expect(relativeError(await memory.download(own[name]), await memory.download(composed[name]))).toBeLessThan(BOUND)
      }
    }
    for (const cache of caches) cache.dispose()
  })

  test('several queries a sequence, f32 and long contexts are left to its parts', () => {
    const lambda = backend.memory.upload(Float32Array.of(1), [1])
    const create = (spec: AttentionSpec) => backend.paged.createCache({ spec, pages: PAGES, pageTokens: PAGE_TOKENS, lambda })
    const taken = (spec: AttentionSpec, batch: PagedBatch) => {
      const [tokens, { dtype }] = [batch.queryTokens, spec]
      const make = (heads: number) => backend.memory.alloc([tokens, heads, 32], dtype)
      return backend.paged.step!(create(spec), { q: make(3), k: make(1), v: make(1), marks: marks(0, tokens) }, batch) !== undefined
    }
    expect(taken(SPEC, batchOf(40, 1))).toBe(true)
    expect(taken(SPEC, batchOf(40, 2))).toBe(false)
    expect(taken({ ...SPEC, dtype: 'f32' }, batchOf(40, 1))).toBe(false)
    expect(taken(SPEC, { ...batchOf(40, 1), maxKeys: 8192 })).toBe(false)
  })

  function append(cache: PagedCache, first: number, count: number, seedOf: (token: number) => number): void {
    backend.paged.append(cache, rows(first, count, 1, seedOf), rows(first, count, 1, seedOf), marks(first, count), batchOf(first, count))
  }

  function batchOf(first: number, count: number): PagedBatch {
    return oneSequenceBatch(backend.memory, { pages: PAGES, pageTokens: PAGE_TOKENS, topK: SPEC.topK, stride: 5 }, first, count)
  }

  /** bf16 [count, heads, 32] that follow from each token's seed. */
  function rows(first: number, count: number, heads: number, seedOf: (token: number) => number) {
    const width = heads * 32
    const values = Float32Array.from({ length: count * width }, (_, index) =>
      Math.sin((seedOf(first + Math.floor(index / width)) * width + (index % width)) * 12.9898),
    )
    return backend.memory.upload(values, [count, heads, 32], 'bf16')
  }

  function marks(first: number, count: number) {
    return backend.memory.upload(
      Float32Array.from({ length: count }, (_, row) => ((first + row) % 5 === 0 ? 1 : 0)),
      [count],
    )
  }
})
