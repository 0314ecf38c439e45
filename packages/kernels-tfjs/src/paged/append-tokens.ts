import type { AttentionSpec } from '@phsa/core'
import { firstPosition, type KeySequence } from '../attention/key-sequence.js'
import { type CacheArrays, subBlockTokens } from './host-paged-cache.js'

export interface NewTokens {
  /** [Tq, Hkv, D] */
  readonly k: Float32Array
  readonly v: Float32Array
  /** [Tq] */
  readonly marks: Float32Array
  /** [Hkv] */
  readonly lambda: Float32Array
}

/**
 * Writes new tokens to their pages and carries the running sums on. Sums are rounded to f32 at each addition, in token order, so that any
 * split into steps leaves the same bits; the representative of a sub-block is written once, when its last token arrives (spec 6).
 */
export function appendTokens(cache: CacheArrays, tokens: NewTokens, sequences: readonly KeySequence[], spec: AttentionSpec): void {
  const width = spec.kvHeads * spec.headDim
  const size = subBlockTokens(spec)
  for (const sequence of sequences) {
    for (let query = 0; query < sequence.queries; query++) {
      const source = sequence.queryStart + query
      const slot = sequence.rowOf(firstPosition(sequence) + query)
      const key = tokens.k.subarray(source * width, (source + 1) * width)
      cache.k.set(key, slot * width)
      cache.v.set(tokens.v.subarray(source * width, (source + 1) * width), slot * width)
      const subBlock = Math.floor(slot / size)
      if (slot % size === 0) startSubBlock(cache, subBlock, width)
      addKey(cache, subBlock, key, tokens.marks[source] !== 0)
      if ((slot + 1) % size === 0) finishSubBlock(cache, subBlock, tokens.lambda, spec)
    }
  }
}

function startSubBlock(cache: CacheArrays, subBlock: number, width: number): void {
  const start = subBlock * width
  cache.keySums.fill(0, start, start + width)
  cache.markedSums.fill(0, start, start + width)
  cache.marked[subBlock] = 0
}

function addKey({ keySums, markedSums, marked }: CacheArrays, subBlock: number, key: Float32Array, isMark: boolean): void {
  const start = subBlock * key.length
  for (let index = 0; index < key.length; index++) keySums[start + index] += key[index]
  if (!isMark) return
  marked[subBlock]++
  for (let index = 0; index < key.length; index++) markedSums[start + index] += key[index]
}

function finishSubBlock(cache: CacheArrays, subBlock: number, lambda: Float32Array, spec: AttentionSpec): void {
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
