import { appendTokens } from '../append-tokens.js'
import { checkAppend, checkCacheOptions, checkPagedAttend, checkPagedSelect } from '../checks/check-paged.js'
import type { PagedAttention, PagedBatch, PagedCache } from '../contract/paged-attention.js'
import { derivedDType } from '../derived-dtype.js'
import { DisposedError } from '../errors/disposed-error.js'
import { HostPagedCache, type PagedArrays } from '../host-paged-cache.js'
import type { HostMemory } from './host-memory.js'
import { pagedAttend } from './paged-attend.js'
import { type HostBatch, newSlots } from './paged-batch.js'
import { pagedSelectBlocks } from './paged-select.js'

/** `PagedAttention` of the reference backend: each method checks, reads its tensors, calls its kernel and stores the result. */
export function referencePaged(memory: HostMemory): PagedAttention {
  const { owner } = memory

  const hostBatch = (batch: PagedBatch): HostBatch => ({
    sequences: batch.sequences,
    queryTokens: batch.queryTokens,
    maxTopK: batch.maxTopK,
    queryStarts: memory.integers(batch.queryStarts),
    keyLengths: memory.integers(batch.keyLengths),
    pageTable: memory.integers(batch.pageTable),
    pagesPerSequence: batch.pageTable.shape[1],
    topK: memory.integers(batch.topK),
    denseBelow: memory.integers(batch.denseBelow),
  })

  return {
    createCache(options) {
      memory.checkOpen()
      checkCacheOptions(owner, options)
      const what = `a cache of ${options.pages} pages of ${options.pageTokens} tokens`
      return new HostPagedCache(owner.backend, options, (bytes, free) => {
        const reserved = memory.reserve(what, bytes)
        return {
          release: () => {
            reserved.release()
            free()
          },
        }
      })
    },

    append(cache, k, v, marks, batch) {
      checkAppend(owner, cache, k, v, marks, batch)
      const arrays = {
        k: memory.reals(k),
        v: memory.reals(v),
        marks: memory.reals(marks),
        lambda: memory.reals(cache.options.lambda),
      }
      appendTokens(liveArrays(cache), arrays, newSlots(hostBatch(batch), cache.options), cache.options.spec)
    },

    selectBlocks(cache, q, batch) {
      checkPagedSelect(owner, cache, q, batch)
      const { spec } = cache.options
      const selected = pagedSelectBlocks(liveArrays(cache), memory.reals(q), hostBatch(batch), cache.options)
      return memory.make(selected, [spec.kvHeads, batch.queryTokens, batch.maxTopK], 'i32')
    },

    attend(cache, q, selected, batch) {
      checkPagedAttend(owner, cache, q, selected, batch)
      const { spec } = cache.options
      const { out, lse } = pagedAttend(liveArrays(cache), memory.reals(q), memory.integers(selected), hostBatch(batch), cache.options)
      return {
        out: memory.make(out, q.shape, spec.dtype),
        lse: memory.make(lse, [batch.queryTokens, spec.heads], derivedDType(spec.dtype)),
      }
    },
  }
}

function liveArrays(cache: PagedCache): PagedArrays {
  const { arrays } = cache as HostPagedCache
  if (!arrays) throw new DisposedError('the cache is disposed; dispose it after the last step of its sequences.')
  return arrays
}
