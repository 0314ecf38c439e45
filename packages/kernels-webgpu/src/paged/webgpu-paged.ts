import { checkAppend, checkCacheOptions, checkPagedAttend, checkPagedSelect, type PagedAttention, type PagedCache } from '@phsa/core'
import { queueAttend } from '../attention/attend.js'
import type { AttentionHost } from '../attention/attention-host.js'
import { elementOf, rulesOf } from '../attention/call-params.js'
import { queueSelect } from '../attention/select.js'
import { appendTokens } from './append-tokens.js'
import { pagedSequences } from './paged-sequences.js'
import { WebgpuPagedCache } from './webgpu-paged-cache.js'

/** `PagedAttention`: the kernels of the packed form, with a page table instead of starts. */
export function webgpuPaged(host: AttentionHost): PagedAttention {
  const { memory, numbers } = host
  const { owner } = memory
  return {
    createCache(options) {
      memory.checkOpen()
      checkCacheOptions(owner, options)
      return new WebgpuPagedCache(memory, options)
    },

    append(cache, k, v, marks, batch) {
      memory.checkOpen()
      checkAppend(owner, cache, k, v, marks, batch)
      appendTokens(host, cache.options, partsOf(cache), { k, v, marks }, batch)
    },

    selectBlocks(cache, q, batch) {
      memory.checkOpen()
      checkPagedSelect(owner, cache, q, batch)
      const { spec } = cache.options
      const { reps } = partsOf(cache)
      return memory.scope(() => {
        const selected = memory.make([spec.kvHeads, batch.queryTokens, batch.maxTopK], 'i32')
        queueSelect(host, spec, {
          q: memory.slice(q),
          reps,
          selected: memory.slice(selected),
          numbers: numbers.ofBatch(batch),
          sequences: pagedSequences(batch, cache.options),
          rules: rulesOf(spec, batch.maxTopK),
          element: elementOf(spec),
          maxBlocks: Math.ceil(batch.maxKeys / spec.blockSize),
          maxQueries: batch.maxQueries,
        })
        return selected
      })
    },

    attend(cache, q, selected, batch) {
      memory.checkOpen()
      checkPagedAttend(owner, cache, q, selected, batch)
      const { spec } = cache.options
      const { keyPages, valuePages } = partsOf(cache)
      return memory.scope(() => {
        const out = memory.make(q.shape, spec.dtype)
        const lse = memory.make([batch.queryTokens, spec.heads], 'f32')
        queueAttend(host, spec, {
          q: memory.slice(q),
          k: keyPages,
          v: valuePages,
          selected: memory.slice(selected),
          out: memory.slice(out),
          lse: memory.slice(lse),
          numbers: numbers.ofBatch(batch),
          sequences: pagedSequences(batch, cache.options),
          rules: rulesOf(spec, batch.maxTopK),
          element: elementOf(spec),
        })
        return { out, lse }
      })
    },
  }
}

/** The check of the cache's backend has come before. */
function partsOf(cache: PagedCache) {
  return (cache as WebgpuPagedCache).parts
}
