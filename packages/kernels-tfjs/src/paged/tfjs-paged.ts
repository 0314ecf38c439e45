import {
  appendTokens,
  checkAppend,
  checkCacheOptions,
  checkPagedAttend,
  checkPagedSelect,
  DisposedError,
  HostPagedCache,
  type PagedArrays,
  type PagedAttention,
  type PagedCache,
} from '@phsa/core'
import { attendChunks } from '../attention/attend-chunks.js'
import { selectChunks } from '../attention/score-blocks.js'
import type { TfjsMemory } from '../memory/tfjs-memory.js'
import { newSlots, pagedSequences } from './paged-sequences.js'

/** `PagedAttention`: the kernels of the packed form, with keys and representatives found through page tables. */
export function tfjsPaged(memory: TfjsMemory): PagedAttention {
  const { owner } = memory
  return {
    createCache(options) {
      memory.checkOpen()
      checkCacheOptions(owner, options)
      return new HostPagedCache(owner.backend, options, (bytes, free) => memory.reserve(bytes, free))
    },

    append(cache, k, v, marks, batch) {
      memory.checkOpen()
      checkAppend(owner, cache, k, v, marks, batch)
      const arrays = liveArrays(cache)
      const { spec, lambda } = cache.options
      const sequences = pagedSequences(memory, batch, cache.options)
      memory.run(() => {
        const tokens = { k: memory.host(k), v: memory.host(v), marks: memory.host(marks), lambda: memory.host(lambda) }
        appendTokens(arrays, tokens, newSlots(sequences), spec)
      })
    },

    selectBlocks(cache, q, batch) {
      memory.checkOpen()
      checkPagedSelect(owner, cache, q, batch)
      const { reps } = liveArrays(cache)
      const { spec } = cache.options
      const sequences = pagedSequences(memory, batch, cache.options)
      return memory.run(() => {
        const selected = new Int32Array(spec.kvHeads * batch.queryTokens * batch.maxTopK).fill(-1)
        selectChunks({ q: () => memory.host(q), reps: () => reps }, sequences, spec, selected, batch.queryTokens, batch.maxTopK)
        return memory.fromIntegers(selected, [spec.kvHeads, batch.queryTokens, batch.maxTopK])
      })
    },

    attend(cache, q, selected, batch) {
      memory.checkOpen()
      checkPagedAttend(owner, cache, q, selected, batch)
      const { k, v } = liveArrays(cache)
      const { spec } = cache.options
      const sequences = pagedSequences(memory, batch, cache.options)
      return memory.run(() => {
        const arrays = { q: () => memory.host(q), k: () => k, v: () => v }
        const { out, lse } = attendChunks(arrays, sequences, spec, {
          blocks: memory.integers(selected),
          queryTokens: batch.queryTokens,
          topK: batch.maxTopK,
        })
        return { out: memory.fromHost(out, q.shape), lse: memory.fromHost(lse, [batch.queryTokens, spec.heads]) }
      })
    },
  }
}

/** This backend takes f32 only, so its caches hold nothing else. */
function liveArrays(cache: PagedCache): PagedArrays<Float32Array> {
  const { arrays } = cache as HostPagedCache
  if (!arrays) throw new DisposedError('the cache is disposed; dispose it after the last step of its sequences.')
  return arrays as PagedArrays<Float32Array>
}
