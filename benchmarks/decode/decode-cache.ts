import { type AttentionSpec, type ModelBackend, type PagedBatch, type PagedCache, RandomStream, type Tensor } from '@phsa/core'
import type { NormalPool } from '../attention/normal-pool.js'

export const PAGE_TOKENS = 64
/** Tokens that are appended at once. All sequences and caches have the same keys, over and over; the punctuation tells their blocks apart. */
export const CHUNK_TOKENS = 4096
/** Share of the tokens that are punctuation: enough for every block to have its own. */
const MARKED = 0.3

/** Keys and values of a chunk, and lambda, on the GPU. */
export interface DecodeData {
  /** [CHUNK_TOKENS, Hkv, D] as the GPU holds it. */
  readonly hostKeys: Float32Array
  readonly hostValues: Float32Array
  readonly keys: Tensor
  readonly values: Tensor
  /** f32 [Hkv] */
  readonly lambda: Tensor
}

export const LAMBDA = 0.5

/** Makes and uploads a chunk. */
export function decodeData({ memory }: ModelBackend, { kvHeads, headDim, dtype }: AttentionSpec, pool: NormalPool): DecodeData {
  const shape = [CHUNK_TOKENS, kvHeads, headDim]
  const count = CHUNK_TOKENS * kvHeads * headDim
  const [hostKeys, hostValues] = [pool.take(count, 1), pool.take(count, 2)]
  return {
    hostKeys,
    hostValues,
    keys: memory.upload(hostKeys, shape, dtype),
    values: memory.upload(hostValues, shape, dtype),
    lambda: memory.upload(new Float32Array(kvHeads).fill(LAMBDA), [kvHeads]),
  }
}

/** f32 [length]: 1 for the punctuation of a sequence. */
export function marksOf(sequence: number, length: number): Float32Array {
  const random = new RandomStream(sequence + 7)
  return Float32Array.from({ length }, () => (random.uniform() < MARKED ? 1 : 0))
}

/** i32 [S, P]: pages in no order. */
export function pageTable(sequences: number, length: number): Int32Array {
  const pages = Math.ceil(length / PAGE_TOKENS)
  const table = Int32Array.from({ length: sequences * pages }, (_, page) => page)
  const random = new RandomStream(3)
  for (let last = table.length - 1; last > 0; last--) {
    const other = random.below(last + 1)
    const page = table[last]
    table[last] = table[other]
    table[other] = page
  }
  return table
}

/** A cache that holds all but the last token of each sequence. The caller disposes it. */
export function filledCache(
  backend: ModelBackend,
  spec: AttentionSpec,
  data: DecodeData,
  table: Int32Array,
  sequences: number,
  length: number,
): PagedCache {
  const { memory, paged } = backend
  const pages = table.length / sequences
  const cache = paged.createCache({ spec, pages: table.length, pageTokens: PAGE_TOKENS, lambda: data.lambda })
  for (let sequence = 0; sequence < sequences; sequence++) {
    const marks = marksOf(sequence, length)
    for (let start = 0; start < length - 1; start += CHUNK_TOKENS) {
      memory.scope(() => {
        const i32 = (values: readonly number[]) => memory.upload(Int32Array.from(values), [values.length])
        const batch: PagedBatch = {
          sequences: 1,
          queryTokens: CHUNK_TOKENS,
          maxQueries: CHUNK_TOKENS,
          maxKeys: start + CHUNK_TOKENS,
          maxTopK: spec.topK,
          queryStarts: i32([0, CHUNK_TOKENS]),
          keyLengths: i32([start + CHUNK_TOKENS]),
          pageTable: memory.upload(table.subarray(sequence * pages, (sequence + 1) * pages), [1, pages]),
          topK: i32([spec.topK]),
          denseBelow: i32([0]),
        }
        const own = memory.upload(marks.subarray(start, start + CHUNK_TOKENS), [CHUNK_TOKENS])
        paged.append(cache, data.keys, data.values, own, batch)
      })
    }
  }
  return cache
}

/** One query for each sequence; dense ones see everything and choose nothing. */
export function decodeBatch(
  { memory }: ModelBackend,
  table: Int32Array,
  sequences: number,
  length: number,
  topK: number,
  dense: boolean,
): PagedBatch {
  const all = (value: number) => memory.upload(new Int32Array(sequences).fill(value), [sequences])
  return {
    sequences,
    queryTokens: sequences,
    maxQueries: 1,
    maxKeys: length,
    maxTopK: topK,
    queryStarts: memory.upload(
      Int32Array.from({ length: sequences + 1 }, (_, index) => index),
      [sequences + 1],
    ),
    keyLengths: all(length),
    pageTable: memory.upload(table, [sequences, table.length / sequences]),
    topK: all(topK),
    denseBelow: all(dense ? 2 ** 30 : 0),
  }
}
