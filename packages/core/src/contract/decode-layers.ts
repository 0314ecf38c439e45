import type { RopeTable } from './model-ops.js'
import type { PagedBatch, PagedCache } from './paged-attention.js'
import type { Tensor } from './tensor.js'

/** One layer of a decoder: its weights, and the cache of its keys. */
export interface CachedLayer {
  /** RMS norm weights of the layer's input and of what its attention is added to, [E]. */
  readonly inputNorm: Tensor
  readonly postNorm: Tensor
  /** [Hq * D, E], [Hkv * D, E] and [Hkv * D, E]. */
  readonly q: Tensor
  readonly k: Tensor
  readonly v: Tensor
  /** RMS norm weights of a head, [D]. */
  readonly qNorm: Tensor
  readonly kNorm: Tensor
  /** [E, Hq * D]. */
  readonly o: Tensor
  /** [I, E]. */
  readonly gate: Tensor
  readonly up: Tensor
  /** [E, I]. */
  readonly down: Tensor
  readonly cache: PagedCache
}

/** The layers of a decoder, and one step's tokens before the first of them. */
export interface DecodeLayersInput {
  readonly layers: readonly CachedLayer[]
  /** [T, E], T = batch.queryTokens. */
  readonly x: Tensor
  /** i32 [T], below P of `rope`. */
  readonly positions: Tensor
  /** f32 [T]: 1 for punctuation, else 0. */
  readonly marks: Tensor
  readonly rope: RopeTable
  readonly epsilon: number
  readonly batch: PagedBatch
}
