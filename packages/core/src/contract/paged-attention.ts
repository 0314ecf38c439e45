import type { AttendOutput } from './attention.js'
import type { AttentionSpec } from './attention-spec.js'
import type { Tensor } from './tensor.js'

/** Size of the cache of one layer and the spec that it serves (spec 6). */
export interface PagedCacheOptions {
  readonly spec: AttentionSpec
  /** Pages of the pool, shared by all sequences. */
  readonly pages: number
  /** Tokens a page; a multiple of the block size. */
  readonly pageTokens: number
  /** f32 [Hkv]: weight of the global branch; read when a sub-block's last token arrives. Outlives the cache. */
  readonly lambda: Tensor
}

/**
 * Keys, values and running block representatives of one layer (spec 6): f32 sums of the keys and of the punctuation keys of each
 * sub-block in token order, and counts. A block starts anew with its first token, so pages are reused without clearing. Tokens are
 * appended once, in position order; a sequence may go back, or start on shared pages, only at a multiple of the block size.
 * A cache belongs to no scope: whoever created it disposes it.
 */
export interface PagedCache {
  readonly backend: object
  readonly options: PagedCacheOptions
  readonly bytes: number
  dispose(): void
}

/**
 * One step over cached sequences, the same for all layers: each brings n >= 0 new queries at the end of its keys; decode (1) and chunked prefill (n) mix freely.
 * The numbers are capacities; the tensors may be rewritten between replays of a captured step. Padding as in `Layout`.
 */
export interface PagedBatch {
  /** S. */
  readonly sequences: number
  /** Rows of q and of the new k and v. */
  readonly queryTokens: number
  /** At least the most queries that one sequence brings: 1 in pure decode. */
  readonly maxQueries: number
  /** At least the most keys of a sequence; at most P * pageTokens. */
  readonly maxKeys: number
  /** K: the last extent of `selected`, at least every sequence's topK; at most 64. */
  readonly maxTopK: number
  /** i32 [S + 1]: rows of each sequence. */
  readonly queryStarts: Tensor
  /** i32 [S]: keys of each sequence, the new ones included; 0 for an unused sequence. */
  readonly keyLengths: Tensor
  /** i32 [S, P]: page of each pageTokens keys of a sequence; -1 past its last. Pages may be shared where only read. */
  readonly pageTable: Tensor
  /** i32 [S]: blocks that a sequence selects: min(topK[s], K), 0 in a layer whose spec is dense, whatever spec.topK is; the rest of the row is -1. */
  readonly topK: Tensor
  /** i32 [S]: queries at positions below it attend densely. 2^30 makes a sequence dense, 0 sparse throughout. */
  readonly denseBelow: Tensor
}

/** The new tokens of a step. */
export interface PagedTokens {
  /** [Tq, Hq, D] */
  readonly q: Tensor
  /** [Tq, Hkv, D] */
  readonly k: Tensor
  readonly v: Tensor
  /** f32 [Tq]: 1 for a token that counts in the punctuation branch, else 0. */
  readonly marks: Tensor
}

/** What a whole step of attention gives. */
export interface PagedStepOutput extends AttendOutput {
  /** i32 [Hkv, Tq, K] */
  readonly selected: Tensor
}

/**
 * The same attention where keys lie in pages (spec 6). Any split of a sequence into steps gives the same result up to rounding, `selected` in
 * f32 exactly. Against the packed form, whose sums round otherwise, `selected` agrees by the rule of spec 11.
 */
export interface PagedAttention {
  /** @throws OutOfMemoryError with what was asked and what is free */
  createCache(options: PagedCacheOptions): PagedCache

  /**
   * Writes the new keys and values [Tq, Hkv, D] into their pages and updates the running representatives.
   * Values out of range (a page that is not there, more keys than pages) are the caller's mistake and not checked on the device.
   * @param marks f32 [Tq]: 1 for a token that counts in the punctuation branch, else 0
   */
  append(cache: PagedCache, k: Tensor, v: Tensor, marks: Tensor, batch: PagedBatch): void

  /** After `append`: the blocks of each new query, i32 [Hkv, Tq, K]. */
  selectBlocks(cache: PagedCache, q: Tensor, batch: PagedBatch): Tensor

  /** After `append`: attention of the new queries over their visible cached keys. */
  attend(cache: PagedCache, q: Tensor, selected: Tensor, batch: PagedBatch): AttendOutput

  /**
   * The three above at once, where the backend has that for the case, as of one query a sequence; otherwise undefined, and nothing is done.
   * `attendStep` composes it then.
   */
  step?(cache: PagedCache, tokens: PagedTokens, batch: PagedBatch): PagedStepOutput | undefined
}
