import type { TensorCheck } from '@phsa/core/testing'
import type { AttentionName } from '../model/model-plan.js'
import type { Variant } from './variant-backend.js'

/** Half a layer. Plain JSON. */
export interface HalfRow {
  readonly name: string
  readonly rows: number
  /** GPU time of one layer. */
  readonly microseconds: number
  /** Of its weights. */
  readonly bytes: number
  readonly checks: readonly TensorCheck[]
}

/** The logits of some rows: norm and product with the output embedding. Plain JSON. */
export interface HeadRow {
  readonly rows: number
  readonly microseconds: number
  readonly bytes: number
}

/** Attention of one layer, one token a sequence: at once, or what it is made of. Plain JSON. */
export interface AttentionRow {
  readonly name: string
  readonly batch: number
  readonly keys: number
  readonly attention: AttentionName
  readonly microseconds: number
  readonly checks: readonly TensorCheck[]
}

/** Steps of all layers at once against their parts. Plain JSON. */
export interface LayersCheck {
  readonly name: string
  /** Before the first of the steps. */
  readonly keys: number
  readonly checks: readonly TensorCheck[]
}

/** All layers at once, for one sequence. */
export interface LayersPlan {
  /** A multiple of the block size, as of `AttentionPlan`. */
  readonly keys: number
  readonly attention: AttentionName
}

/** All layers of a step at once. Plain JSON. */
export interface LayersRow extends LayersPlan {
  /** Of one layer. */
  readonly microseconds: number
}

/** A whole step, one token for each sequence, recorded. Plain JSON. */
export interface StepRow {
  readonly batch: number
  readonly keys: number
  readonly attention: AttentionName
  readonly variant: Variant
  readonly milliseconds: number
  /** Bytes of all weights, over the time, over the rate of a copy. */
  readonly floorShare: number
}

/** What `bench-step` writes. Plain JSON. */
export interface StepResult {
  readonly format: 'phsa-step/3'
  readonly createdAt: string
  readonly commit?: string
  readonly device: string
  /** Bytes a second of a copy, read and written. */
  readonly copyBytes: number
  readonly conformance: { readonly passed: number; readonly failed: readonly string[] }
  readonly halves: HalfRow[]
  readonly heads: HeadRow[]
  readonly layersChecks: LayersCheck[]
  readonly layers: LayersRow[]
  readonly attention: AttentionRow[]
  readonly steps: StepRow[]
}
