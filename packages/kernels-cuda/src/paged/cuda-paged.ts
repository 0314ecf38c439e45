import {
  checkAppend,
  checkCacheOptions,
  checkPagedAttend,
  checkPagedSelect,
  checkPagedStep,
  type PagedAttention,
  type PagedBatch,
  type PagedCache,
  type PagedCacheOptions,
} from '@phsa/core'
import { attend } from '../attention/attend.js'
import { rulesOf } from '../attention/call-params.js'
import type { KernelMemory } from '../attention/kernel-host.js'
import type { Sequences } from '../attention/kernel-params.js'
import type { ParamValues } from '../attention/param-layout.js'
import { selectBlocks } from '../attention/select.js'
import { appendTokens } from './append-tokens.js'
import { attendPaged, hasAttendPaged } from './attend-paged.js'
import { CudaPagedCache, type PagedDevice } from './cuda-paged-cache.js'
import { decodeStep, hasDecodeStep } from './decode-step.js'
import { hasSelectPaged, selectPaged } from './select-paged.js'

/** `PagedAttention`: kernels of its own for bf16, else those of the packed form with a page table instead of starts. */
export function cudaPaged(device: PagedDevice, memory: KernelMemory): PagedAttention {
  const { owner } = memory
  return {
    createCache(options) {
      memory.checkOpen()
      checkCacheOptions(owner, options)
      return new CudaPagedCache(device, memory, options)
    },

    append(cache, k, v, marks, batch) {
      memory.checkOpen()
      checkAppend(owner, cache, k, v, marks, batch)
      const { spec, lambda } = cache.options
      appendTokens(device, spec, addressesOf(cache), {
        k: memory.address(k),
        v: memory.address(v),
        marks: memory.address(marks),
        lambda: memory.address(lambda),
        sequences: pagedSequences(memory, batch, cache.options),
      })
    },

    selectBlocks(cache, q, batch) {
      memory.checkOpen()
      checkPagedSelect(owner, cache, q, batch)
      const { spec } = cache.options
      const { reps, halfReps, arrivals } = addressesOf(cache)
      return memory.scope(() => {
        const selected = memory.make([spec.kvHeads, batch.queryTokens, batch.maxTopK], 'i32')
        const call = {
          q: memory.address(q),
          selected: memory.address(selected),
          sequences: pagedSequences(memory, batch, cache.options),
          rules: rulesOf(spec, batch.maxTopK),
        }
        if (hasSelectPaged(spec)) selectPaged(device, memory, spec, batch, { ...call, reps: halfReps, arrivals })
        else selectBlocks(device, memory, spec, { ...call, reps })
        return selected
      })
    },

    attend(cache, q, selected, batch) {
      memory.checkOpen()
      checkPagedAttend(owner, cache, q, selected, batch)
      const { spec } = cache.options
      const { keyPages, valuePages, arrivals } = addressesOf(cache)
      return memory.scope(() => {
        const out = memory.make(q.shape, spec.dtype)
        const lse = memory.make([batch.queryTokens, spec.heads], 'f32')
        const call = {
          q: memory.address(q),
          k: keyPages,
          v: valuePages,
          selected: memory.address(selected),
          out: memory.address(out),
          lse: memory.address(lse),
          sequences: pagedSequences(memory, batch, cache.options),
          rules: rulesOf(spec, batch.maxTopK),
        }
        if (hasAttendPaged(spec)) attendPaged(device, memory, spec, batch, { ...call, arrivals })
        else attend(device, memory, spec, call)
        return { out, lse }
      })
    },

    step(cache, tokens, batch) {
      memory.checkOpen()
      checkPagedStep(owner, cache, tokens, batch)
      const { spec, lambda } = cache.options
      const addresses = addressesOf(cache)
      const { q, k, v, marks } = tokens
      if (!hasDecodeStep(device, spec, batch)) return undefined
      return memory.scope(() => {
        const out = memory.make(q.shape, spec.dtype)
        const lse = memory.make([batch.queryTokens, spec.heads], 'f32')
        const selected = memory.make([spec.kvHeads, batch.queryTokens, batch.maxTopK], 'i32')
        decodeStep(device, spec, batch, addresses, {
          q: memory.address(q),
          k: memory.address(k),
          v: memory.address(v),
          marks: memory.address(marks),
          lambda: memory.address(lambda),
          sequences: pagedSequences(memory, batch, cache.options),
          selected: memory.address(selected),
          out: memory.address(out),
          lse: memory.address(lse),
        })
        return { out, lse, selected }
      })
    },
  }
}

/** The `Sequences` of a paged batch. */
function pagedSequences(memory: KernelMemory, batch: PagedBatch, { pageTokens }: PagedCacheOptions): ParamValues<typeof Sequences> {
  return {
    queryStarts: memory.address(batch.queryStarts),
    keyStarts: 0n,
    blockStarts: 0n,
    keyLengths: memory.address(batch.keyLengths),
    pageTable: memory.address(batch.pageTable),
    topK: memory.address(batch.topK),
    denseBelow: memory.address(batch.denseBelow),
    sequences: batch.sequences,
    queryTokens: batch.queryTokens,
    keyTokens: 0,
    blocks: 0,
    pagesPerSequence: batch.pageTable.shape[1],
    pageTokens,
  }
}

/** The check of the cache's backend has come before. */
function addressesOf(cache: PagedCache) {
  return (cache as CudaPagedCache).addresses
}
