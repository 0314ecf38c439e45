import type { PagedCache, PagedCacheOptions } from '../contract/paged-attention.js'
import { derivedDType } from '../derived-dtype.js'
import { ShapeError } from '../errors/shape-error.js'
import { roundArray, roundToType } from '../rounding.js'
import type { Reals } from './host-layout.js'

/** One step's new tokens and where they go: `PagedBatch` with its tensors read. */
export interface HostBatch {
  readonly sequences: number
  readonly queryTokens: number
  readonly maxTopK: number
  readonly queryStarts: Int32Array
  readonly keyLengths: Int32Array
  /** [S, P] */
  readonly pageTable: Int32Array
  /** P */
  readonly pagesPerSequence: number
  readonly topK: Int32Array
  readonly denseBelow: Int32Array
}

/** Elements of a cache. Row `slot` of k and v is token `slot % pageTokens` of page `floor(slot / pageTokens)`. */
export interface PagedArrays {
  /** [pages * pageTokens, Hkv, D], values of the spec's type */
  readonly k: Reals
  readonly v: Reals
  /** [pages * pageTokens / (m / r), Hkv, D]: running sums of each sub-block, and its final representative */
  readonly keySums: Reals
  readonly markedSums: Reals
  readonly reps: Reals
  /** [pages * pageTokens / (m / r)]: punctuation tokens so far */
  readonly marked: Int32Array
}

/** Keys, values and running representatives of one layer, on the host (spec 6). */
export class HostPagedCache implements PagedCache {
  readonly backend: object
  readonly options: PagedCacheOptions
  readonly bytes: number
  readonly #release: () => void
  #arrays: PagedArrays | undefined

  constructor(backend: object, options: PagedCacheOptions, bytes: number, release: () => void) {
    this.backend = backend
    this.options = options
    this.bytes = bytes
    this.#release = release
    const { spec, pages, pageTokens } = options
    const keyElements = pages * pageTokens * spec.kvHeads * spec.headDim
    const subBlocks = (pages * pageTokens * spec.representatives) / spec.blockSize
    const sumElements = subBlocks * spec.kvHeads * spec.headDim
    const make = (length: number): Reals => (spec.dtype === 'f64' ? new Float64Array(length) : new Float32Array(length))
    this.#arrays = {
      k: make(keyElements),
      v: make(keyElements),
      keySums: make(sumElements),
      markedSums: make(sumElements),
      reps: make(sumElements),
      marked: new Int32Array(subBlocks),
    }
  }

  /** Undefined once disposed. */
  get arrays(): PagedArrays | undefined {
    return this.#arrays
  }

  dispose(): void {
    if (!this.#arrays) return
    this.#arrays = undefined
    this.#release()
  }
}

/** Row of k and v that holds a token of a sequence. @throws ShapeError where the page table has no page for it */
export function slotOf(batch: HostBatch, sequence: number, position: number, { pages, pageTokens }: PagedCacheOptions): number {
  const index = Math.floor(position / pageTokens)
  const page = index < batch.pagesPerSequence ? batch.pageTable[sequence * batch.pagesPerSequence + index] : -1
  if (page < 0 || page >= pages) {
    throw new ShapeError(
      `sequence ${sequence} has no page for its token ${position}: entry ${index} of its page table is ${page}; the pages are 0 to ${pages - 1}.`,
    )
  }
  return page * pageTokens + (position % pageTokens)
}

/** The new queries of a step with their sequence and position; rows past the last start are left out. */
export function* batchRows({
  sequences,
  queryStarts,
  keyLengths,
}: HostBatch): Generator<{ sequence: number; row: number; position: number }> {
  for (let sequence = 0; sequence < sequences; sequence++) {
    const queries = queryStarts[sequence + 1] - queryStarts[sequence]
    if (queries > keyLengths[sequence]) {
      throw new ShapeError(`sequence ${sequence} brings ${queries} queries but has ${keyLengths[sequence]} keys, the new ones included.`)
    }
    for (let index = 0; index < queries; index++) {
      yield { sequence, row: queryStarts[sequence] + index, position: keyLengths[sequence] - queries + index }
    }
  }
}

export interface AppendArrays {
  /** [Tq, Hkv, D] */
  readonly k: Reals
  readonly v: Reals
  /** [Tq] */
  readonly marks: Reals
  /** [Hkv] */
  readonly lambda: Reals
}

/**
 * Writes new tokens to their pages and carries the running sums on. Sums are rounded at each addition, in token order, so that any split
 * into steps leaves the same bits. The representative of a sub-block is written once, when its last token arrives.
 */
export function appendTokens(
  cache: PagedArrays,
  { k, v, marks, lambda }: AppendArrays,
  batch: HostBatch,
  options: PagedCacheOptions,
): void {
  const { kvHeads, headDim, blockSize, representatives, dtype } = options.spec
  const width = kvHeads * headDim
  const subBlockSize = blockSize / representatives
  const derived = derivedDType(dtype)
  for (const { sequence, row, position } of batchRows(batch)) {
    const slot = slotOf(batch, sequence, position, options)
    const key = roundArray(k.subarray(row * width, (row + 1) * width), dtype)
    cache.k.set(key, slot * width)
    cache.v.set(roundArray(v.subarray(row * width, (row + 1) * width), dtype), slot * width)

    const subBlock = Math.floor(slot / subBlockSize)
    const start = subBlock * width
    if (slot % subBlockSize === 0) {
      cache.keySums.fill(0, start, start + width)
      cache.markedSums.fill(0, start, start + width)
      cache.marked[subBlock] = 0
    }
    const isMark = marks[row] !== 0
    if (isMark) cache.marked[subBlock]++
    for (let index = 0; index < width; index++) {
      cache.keySums[start + index] = roundToType(cache.keySums[start + index] + key[index], derived)
      if (isMark) cache.markedSums[start + index] = roundToType(cache.markedSums[start + index] + key[index], derived)
    }
    if ((slot + 1) % subBlockSize !== 0) continue
    const marked = cache.marked[subBlock]
    for (let index = 0; index < width; index++) {
      const global = cache.keySums[start + index] / subBlockSize
      const punctuation = marked === 0 ? global : cache.markedSums[start + index] / marked
      const share = lambda[Math.floor(index / headDim)]
      cache.reps[start + index] = roundToType(share * global + (1 - share) * punctuation, derived)
    }
  }
}
