import type { AttentionSpec } from './contract/attention-spec.js'
import { type PagedArrays, subBlockTokens } from './host-paged-cache.js'

/** Host form of what `PagedAttention.append` takes. */
export interface NewTokens {
  /** [Tq, Hkv, D], values of the spec's type. */
  readonly k: Float32Array | Float64Array
  readonly v: Float32Array | Float64Array
  /** [Tq]; not 0 for a token that counts in the punctuation branch. */
  readonly marks: Float32Array | Float64Array
  /** [Hkv] */
  readonly lambda: Float32Array | Float64Array
}

/** A new token: its row of the new k and v, and the row of the cache that it goes to. */
export interface TokenSlot {
  readonly row: number
  readonly slot: number
}

/**
 * Writes new tokens to a host cache and carries the running sums on (spec 6). The sums are rounded at each addition, by the type of their
 * array, in token order, so that any split into steps leaves the same bits; the representative of a sub-block is written once, when its last token arrives.
 *
 * @param slots the tokens of each sequence in position order
 */
export function appendTokens(cache: PagedArrays, tokens: NewTokens, slots: Iterable<TokenSlot>, spec: AttentionSpec): void {
  const width = spec.kvHeads * spec.headDim
  const size = subBlockTokens(spec)
  for (const { row, slot } of slots) {
    const key = tokens.k.subarray(row * width, (row + 1) * width)
    cache.k.set(key, slot * width)
    cache.v.set(tokens.v.subarray(row * width, (row + 1) * width), slot * width)
    const subBlock = Math.floor(slot / size)
    if (slot % size === 0) startSubBlock(cache, subBlock, width)
    addKey(cache, subBlock, key, tokens.marks[row] !== 0)
    if ((slot + 1) % size === 0) finishSubBlock(cache, subBlock, tokens.lambda, spec)
  }
}

function startSubBlock(cache: PagedArrays, subBlock: number, width: number): void {
  const start = subBlock * width
  cache.keySums.fill(0, start, start + width)
  cache.markedSums.fill(0, start, start + width)
  cache.marked[subBlock] = 0
}

function addKey({ keySums, markedSums, marked }: PagedArrays, subBlock: number, key: Float32Array | Float64Array, isMark: boolean): void {
  const start = subBlock * key.length
  for (let index = 0; index < key.length; index++) keySums[start + index] += key[index]
  if (!isMark) return
  marked[subBlock]++
  for (let index = 0; index < key.length; index++) markedSums[start + index] += key[index]
}

function finishSubBlock(cache: PagedArrays, subBlock: number, lambda: Float32Array | Float64Array, spec: AttentionSpec): void {
  const { kvHeads, headDim } = spec
  const size = subBlockTokens(spec)
  const marked = cache.marked[subBlock]
  for (let index = 0; index < kvHeads * headDim; index++) {
    const at = subBlock * kvHeads * headDim + index
    const global = cache.keySums[at] / size
    const punctuation = marked === 0 ? global : cache.markedSums[at] / marked
    const share = lambda[Math.floor(index / headDim)]
    cache.reps[at] = share * global + (1 - share) * punctuation
  }
}
