import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import {
  type AttentionSpec,
  denseSpec,
  type ModelBackend,
  type PagedBatch,
  type PagedCache,
  reference,
  type Tensor,
  uploadLayout,
} from '../../src/index.js'
import { expectClose } from './close.js'
import { problem, smallSpec } from './small-problem.js'

const f32Spec: AttentionSpec = { ...smallSpec, dtype: 'f32' }
const length = 83
const lambda = Float32Array.of(0.25, 0.75)

let backend: ModelBackend
beforeEach(async () => {
  backend = await reference()
})
afterEach(() => backend.dispose())

interface Step {
  readonly queries: readonly number[]
  readonly keys: readonly number[]
  readonly pageTable: readonly (readonly number[])[]
  readonly topK?: readonly number[]
  readonly denseBelow?: readonly number[]
  readonly maxTopK?: number
  /** Rows of q beyond those of the sequences. */
  readonly padding?: number
}

function uploadBatch({ queries, keys, pageTable, topK, denseBelow, maxTopK = 2, padding = 0 }: Step): PagedBatch {
  const { memory } = backend
  const sequences = queries.length
  const queryStarts = Int32Array.of(0, ...queries.map((_, index) => queries.slice(0, index + 1).reduce((sum, count) => sum + count, 0)))
  const integers = (values: readonly number[]) => memory.upload(Int32Array.from(values), [values.length])
  return {
    sequences,
    queryTokens: queryStarts[sequences] + padding,
    maxQueries: Math.max(...queries),
    maxKeys: Math.max(...keys),
    maxTopK,
    queryStarts: memory.upload(queryStarts, [sequences + 1]),
    keyLengths: integers(keys),
    pageTable: memory.upload(Int32Array.from(pageTable.flat()), [sequences, pageTable[0].length]),
    topK: integers(topK ?? queries.map(() => maxTopK)),
    denseBelow: integers(denseBelow ?? queries.map(() => 0)),
  }
}

function createCache(spec: AttentionSpec, pages = 6): PagedCache {
  const share = spec.dtype === 'f64' ? Float64Array.from(lambda) : lambda
  return backend.paged.createCache({ spec, pages, pageTokens: 16, lambda: backend.memory.upload(share, [spec.kvHeads]) })
}

/** One sequence of random tokens in f32: its packed inputs on the backend, and rows of them. */
function sequence(spec: AttentionSpec) {
  const { q, k, v, marks, weights, packed } = problem(spec, [length])
  if (weights.kind !== 'branches') throw new Error('the problem has branch weights')
  const { memory } = backend
  const rows = (values: Float64Array, heads: number, start: number, end: number): Tensor => {
    const width = heads * spec.headDim
    const part = values.slice(start * width, end * width)
    return memory.upload(spec.dtype === 'f64' ? part : Float32Array.from(part), [end - start, heads, spec.headDim], spec.dtype)
  }
  return {
    q: (start: number, end: number) => rows(q, spec.heads, start, end),
    k: (start: number, end: number) => rows(k, spec.kvHeads, start, end),
    v: (start: number, end: number) => rows(v, spec.kvHeads, start, end),
    marks: (start: number, end: number) => memory.upload(Float32Array.from(marks.subarray(start, end)), [end - start]),
    weights: {
      kind: 'branches' as const,
      global: memory.upload(Float32Array.from(weights.global), [length]),
      punctuation: memory.upload(Float32Array.from(weights.punctuation), [length]),
      lambda: memory.upload(lambda, [spec.kvHeads]),
    },
    layout: uploadLayout(memory, packed),
  }
}

/** Runs a sequence through a cache in steps that end at `ends`: selected as [kvHead][row], out and lse of all rows. */
async function runInSteps(spec: AttentionSpec, ends: readonly number[], denseBelow = 0) {
  const { memory, paged } = backend
  const tokens = sequence(spec)
  const cache = createCache(spec)
  const selected: number[][][] = Array.from({ length: spec.kvHeads }, () => [])
  const out: number[] = []
  const lse: number[] = []
  let start = 0
  for (const end of ends) {
    const count = end - start
    const batch = uploadBatch({ queries: [count], keys: [end], pageTable: [[4, 1, 5, 0, 3, 2]], denseBelow: [denseBelow] })
    paged.append(cache, tokens.k(start, end), tokens.v(start, end), tokens.marks(start, end), batch)
    const chosen = paged.selectBlocks(cache, tokens.q(start, end), batch)
    const attended = paged.attend(cache, tokens.q(start, end), chosen, batch)
    const blocks = await memory.download(chosen)
    for (let row = 0; row < spec.kvHeads * count; row++) {
      selected[Math.floor(row / count)].push([...blocks.subarray(row * spec.topK, (row + 1) * spec.topK)])
    }
    out.push(...(await memory.download(attended.out)))
    lse.push(...(await memory.download(attended.lse)))
    start = end
  }
  cache.dispose()
  return { selected, out, lse }
}

const oneByOne = Array.from({ length }, (_, index) => index + 1)

describe.each<[string, AttentionSpec]>([
  ['two representatives', f32Spec],
  ['logit score', { ...f32Spec, score: 'logit' }],
  ['16-bit keys', { ...f32Spec, dtype: 'bf16' }],
  ['overlap', { ...f32Spec, blockSize: 16, representatives: 1, initTokens: 0, localTokens: 16, topK: 2, score: 'overlap' }],
])('%s', (_, spec) => {
  test('any split into steps gives the same bits', async () => {
    const whole = await runInSteps(spec, [length])
    expect(whole.out.every(Number.isFinite)).toBe(true)
    expect(await runInSteps(spec, [5, 6, 20, 37, length])).toEqual(whole)
    expect(await runInSteps(spec, oneByOne)).toEqual(whole)
  })

  test('the paged form agrees with the packed one', async () => {
    const { memory, attention } = backend
    const tokens = sequence(spec)
    const [q, k, v] = [tokens.q(0, length), tokens.k(0, length), tokens.v(0, length)]
    // Sums round otherwise in both forms; this score gap is far above it, so the choice is the same here.
    const reps = attention.poolBlocks({ k, weights: tokens.weights, layout: tokens.layout, spec })
    const selected = attention.selectBlocks({ q, reps, layout: tokens.layout, spec })
    const { out, lse } = attention.attend({ q, k, v, selected, layout: tokens.layout, spec })
    const paged = await runInSteps(spec, [30, length])
    expect(paged.selected.flat(2)).toEqual([...(await memory.download(selected))])
    expectClose(paged.out, await memory.download(out), 1e-6)
    expectClose(paged.lse, await memory.download(lse), 1e-6)
  })
})

test('f64 sums are kept in f64', async () => {
  const { memory, attention } = backend
  const spec = smallSpec
  const tokens = sequence(spec)
  const [q, k, v] = [tokens.q(0, length), tokens.k(0, length), tokens.v(0, length)]
  const reps = attention.poolBlocks({ k, weights: tokens.weights, layout: tokens.layout, spec })
  const selected = attention.selectBlocks({ q, reps, layout: tokens.layout, spec })
  const { out } = attention.attend({ q, k, v, selected, layout: tokens.layout, spec })
  const paged = await runInSteps(spec, [30, length])
  expect(paged.selected.flat(2)).toEqual([...(await memory.download(selected))])
  expectClose(paged.out, await memory.download(out), 1e-12)
})

test('denseBelow comes from the batch', async () => {
  const dense = await runInSteps(f32Spec, [30, length], 2 ** 30)
  expect(dense.selected.flat(2).every((block) => block === -1)).toBe(true)
  const { memory, attention } = backend
  const tokens = sequence(f32Spec)
  const spec = denseSpec(f32Spec)
  const selected = memory.alloc([spec.kvHeads, length, 0], 'i32')
  const { out } = attention.attend({
    q: tokens.q(0, length),
    k: tokens.k(0, length),
    v: tokens.v(0, length),
    selected,
    layout: tokens.layout,
    spec,
  })
  expectClose(dense.out, await memory.download(out), 1e-6)
})

test('sequences mix prefill, decode, rest and their own topK, with padding rows', async () => {
  const { memory, paged } = backend
  const tokens = sequence(f32Spec)
  const cache = createCache(f32Spec, 8)
  const prefill = uploadBatch({
    queries: [40, 30],
    keys: [40, 30],
    pageTable: [
      [0, 1, 2],
      [5, 4, -1],
    ],
  })
  const both = (part: 'q' | 'k' | 'v', ranges: [number, number][]) => joined(ranges.map(([start, end]) => tokens[part](start, end)))
  const ranges: [number, number][] = [
    [0, 40],
    [0, 30],
  ]
  paged.append(cache, await both('k', ranges), await both('v', ranges), memory.alloc([70], 'f32'), prefill)

  // The first decodes with one block, the second rests, a third is unused; two rows are padding.
  const step = uploadBatch({
    queries: [1, 0, 0],
    keys: [41, 30, 0],
    pageTable: [
      [0, 1, 2],
      [5, 4, -1],
      [-1, -1, -1],
    ],
    topK: [1, 2, 0],
    maxTopK: 3,
    padding: 2,
  })
  paged.append(cache, tokens.k(40, 43), tokens.v(40, 43), memory.alloc([3], 'f32'), step)
  const q = tokens.q(40, 43)
  const chosen = paged.selectBlocks(cache, q, step)
  expect(chosen.shape).toEqual([2, 3, 3])
  const blocks = await memory.download(chosen)
  expect(blocks[0]).toBeGreaterThanOrEqual(1)
  expect([...blocks.subarray(1, 9)]).toEqual(new Array(8).fill(-1))
  const { out, lse } = paged.attend(cache, q, chosen, step)
  const width = f32Spec.heads * f32Spec.headDim
  expect((await memory.download(out)).subarray(width).every((value: number) => value === 0)).toBe(true)
  expect([...(await memory.download(lse)).subarray(f32Spec.heads)]).toEqual(new Array(2 * f32Spec.heads).fill(Number.NEGATIVE_INFINITY))
})

test('lambda is read when a sub-block fills, and a reused page starts anew', async () => {
  const spec: AttentionSpec = { ...f32Spec, heads: 1, kvHeads: 1, headDim: 1, initTokens: 0, representatives: 1, topK: 1 }
  const { memory, paged } = backend
  const share = memory.upload(Float32Array.of(1), [1])
  const cache = paged.createCache({ spec, pages: 1, pageTokens: 12, lambda: share })
  const column = (values: number[]) => memory.upload(Float32Array.from(values), [values.length, 1, 1])
  const feed = (values: number[], marks: number[], keys: number) => {
    const batch = uploadBatch({ queries: [values.length], keys: [keys], pageTable: [[0]], maxTopK: 1 })
    paged.append(cache, column(values), column(values), memory.upload(Float32Array.from(marks), [marks.length]), batch)
    return batch
  }
  const select = async (query: number, batch: PagedBatch) =>
    (await memory.download(paged.selectBlocks(cache, column(new Array(batch.queryTokens).fill(query)), batch))).at(-1)
  // Block 0: mean 1, punctuation 4. Block 1: mean 2 and no punctuation. Lambda is 1 for its first tokens, 0 when it fills.
  feed([0, 0, 0], [0, 0, 0], 3)
  memory.write(share, Float32Array.of(0))
  const batch = feed([4, 2, 2, 2, 2, 0, 0, 0, 0], [1, 0, 0, 0, 0, 0, 0, 0, 0], 12)
  expect(await select(1, batch)).toBe(0)
  // The same page again, with another block 0: nothing of the old sums is left.
  const again = feed([1, 1, 1, 1, 2, 2, 2, 2, 0, 0, 0, 0], new Array(12).fill(0), 12)
  expect(await select(1, again)).toBe(1)
})

test('a missing page and more queries than keys are named', () => {
  const tokens = sequence(f32Spec)
  const cache = createCache(f32Spec)
  const marks = backend.memory.alloc([20], 'f32')
  const missing = uploadBatch({ queries: [20], keys: [20], pageTable: [[2, -1]] })
  expect(() => backend.paged.append(cache, tokens.k(0, 20), tokens.v(0, 20), marks, missing)).toThrow(/no page for its token 16/)
  const short = uploadBatch({ queries: [20], keys: [19], pageTable: [[2, 3]] })
  expect(() => backend.paged.append(cache, tokens.k(0, 20), tokens.v(0, 20), marks, short)).toThrow(/brings 20 queries but has 19 keys/)
})

test('a cache counts in the usage until it is disposed, then it cannot be used', () => {
  const { memory, paged } = backend
  const before = memory.usage()
  const cache = createCache(f32Spec)
  expect(memory.usage()).toEqual({ tensors: before.tensors + 2, bytes: before.bytes + 8 + cache.bytes })
  const tokens = sequence(f32Spec)
  const batch = uploadBatch({ queries: [1], keys: [1], pageTable: [[0]] })
  cache.dispose()
  cache.dispose()
  expect(() => paged.selectBlocks(cache, tokens.q(0, 1), batch)).toThrow(/cache is disposed/)
  expect(() => paged.append(cache, tokens.k(0, 1), tokens.v(0, 1), memory.alloc([1], 'f32'), batch)).toThrow(/cache is disposed/)
})

test('the options and the batch of a cache are checked', async () => {
  const share = backend.memory.upload(lambda, [2])
  const create = (changed: object) => () => backend.paged.createCache({ spec: f32Spec, pages: 2, pageTokens: 8, lambda: share, ...changed })
  expect(create({ pageTokens: 6 })).toThrow(/multiple of blockSize, which is 4/)
  expect(create({ pages: 0 })).toThrow(/positive number/)
  expect(create({ spec: { ...f32Spec, kvHeads: 1 } })).toThrow(/lambda has shape/)
  expect(() => uploadAndSelect(create({})(), 65)).toThrow(/maxTopK of the batch is 65/)
  const other = await reference()
  expect(() => uploadAndSelect({ ...create({})(), backend: other }, 2)).toThrow(/another backend/)
})

function uploadAndSelect(cache: PagedCache, maxTopK: number): Tensor {
  const batch = uploadBatch({ queries: [1], keys: [1], pageTable: [[0]], maxTopK })
  return backend.paged.selectBlocks(cache, sequence(f32Spec).q(0, 1), batch)
}

/** Tensors of rows after each other, as a packed tensor. */
async function joined(parts: readonly Tensor[]): Promise<Tensor> {
  const data = (await Promise.all(parts.map((part) => backend.memory.download(part)))).flatMap((values) => [...values])
  const rows = parts.reduce((sum, part) => sum + part.shape[0], 0)
  return backend.memory.upload(Float32Array.from(data), [rows, ...parts[0].shape.slice(1)])
}
