import type { PagedBatch, PagedCache, PagedCacheOptions, PagedTokens } from '../contract/paged-attention.js'
import type { Tensor } from '../contract/tensor.js'
import { BackendMismatchError } from '../errors/backend-mismatch-error.js'
import { ShapeError } from '../errors/shape-error.js'
import { MAX_TOP_K } from '../phsa-config.js'
import { checkSpec } from './check-spec.js'
import { besides, checkTensor } from './check-tensor.js'
import type { TensorOwner } from './tensor-owner.js'

// Each function checks the arguments of one method of `PagedAttention`, as check-attention.ts does for the packed form.
// Whether a cache is disposed only its backend knows.

/** Checks the options of `PagedAttention.createCache`. */
export function checkCacheOptions(owner: TensorOwner, { spec, pages, pageTokens, lambda }: PagedCacheOptions): void {
  checkSpec(owner, spec)
  if (!Number.isInteger(pages) || pages < 1) throw new ShapeError(`pages is ${pages}; a cache needs a positive number of them.`)
  if (!Number.isInteger(pageTokens) || pageTokens < 1 || pageTokens % spec.blockSize !== 0) {
    throw new ShapeError(`pageTokens is ${pageTokens}; it must be a positive multiple of blockSize, which is ${spec.blockSize}.`)
  }
  checkTensor(owner, 'lambda', lambda, [spec.kvHeads], besides(spec.dtype))
}

/** Checks the arguments of `PagedAttention.append`. */
export function checkAppend(owner: TensorOwner, cache: PagedCache, k: Tensor, v: Tensor, marks: Tensor, batch: PagedBatch): void {
  const { spec, lambda } = cache.options
  checkPagedBatch(owner, cache, batch)
  checkTensor(owner, 'k', k, [batch.queryTokens, spec.kvHeads, spec.headDim], spec.dtype)
  checkTensor(owner, 'v', v, [batch.queryTokens, spec.kvHeads, spec.headDim], spec.dtype)
  checkTensor(owner, 'marks', marks, [batch.queryTokens], besides(spec.dtype))
  checkTensor(owner, 'lambda of the cache', lambda, [spec.kvHeads], besides(spec.dtype))
}

/** Checks the arguments of `PagedAttention.selectBlocks`. */
export function checkPagedSelect(owner: TensorOwner, cache: PagedCache, q: Tensor, batch: PagedBatch): void {
  const { spec } = cache.options
  checkPagedBatch(owner, cache, batch)
  checkTensor(owner, 'q', q, [batch.queryTokens, spec.heads, spec.headDim], spec.dtype)
}

/** Checks the arguments of `PagedAttention.attend`. */
export function checkPagedAttend(owner: TensorOwner, cache: PagedCache, q: Tensor, selected: Tensor, batch: PagedBatch): void {
  const { spec } = cache.options
  checkPagedSelect(owner, cache, q, batch)
  checkTensor(owner, 'selected', selected, [spec.kvHeads, batch.queryTokens, batch.maxTopK], 'i32')
}

/** Checks the arguments of `PagedAttention.step`. */
export function checkPagedStep(owner: TensorOwner, cache: PagedCache, { q, k, v, marks }: PagedTokens, batch: PagedBatch): void {
  checkAppend(owner, cache, k, v, marks, batch)
  checkPagedSelect(owner, cache, q, batch)
}

/** Checks a cache and the batch of a step over it. */
export function checkPagedBatch(owner: TensorOwner, cache: PagedCache, batch: PagedBatch): void {
  if (cache.backend !== owner.backend) {
    throw new BackendMismatchError(`the cache belongs to another backend than this ${owner.name}; use the backend that created it.`)
  }
  const { sequences, maxTopK } = batch
  if (!Number.isInteger(maxTopK) || maxTopK < 0 || maxTopK > MAX_TOP_K) {
    throw new ShapeError(`maxTopK of the batch is ${maxTopK}; it must be an integer from 0 to ${MAX_TOP_K}.`)
  }
  checkTensor(owner, 'batch.queryStarts', batch.queryStarts, [sequences + 1], 'i32')
  checkTensor(owner, 'batch.keyLengths', batch.keyLengths, [sequences], 'i32')
  checkTensor(owner, 'batch.pageTable', batch.pageTable, [sequences, -1], 'i32')
  checkTensor(owner, 'batch.topK', batch.topK, [sequences], 'i32')
  checkTensor(owner, 'batch.denseBelow', batch.denseBelow, [sequences], 'i32')
}
