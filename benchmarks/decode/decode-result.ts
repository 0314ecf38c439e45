import type { AttentionSpec } from '@phsa/core'
import type { TensorCheck } from '@phsa/core/testing'
import type { Timing } from '../attention/device-result.js'

/** What is timed: of a layer, all of a step of decoding, or one operation alone. */
export type DecodePhase = 'layer' | 'select' | 'attend' | 'select and attend'

/** Sequences of one length, each with one query. Plain JSON. */
export interface DecodeRow {
  readonly batch: number
  /** Keys of a sequence. */
  readonly length: number
  /** Every query sees all keys. */
  readonly dense: boolean
  readonly spec: AttentionSpec
  readonly pageTokens: number
  /**
   * - `measured`: every check held, then it was timed
   * - `wrong`: a check failed, so nothing was timed
   * - `failed`: it stopped with an error, as where the caches have no room
   * - `left-out`: the time was over
   */
  readonly outcome: 'measured' | 'wrong' | 'failed' | 'left-out'
  readonly reason?: string
  /** Comparisons of one sequence's query with float64. */
  readonly checks?: readonly TensorCheck[]
  /** Caches that take turns in a recorded step; times are of one. */
  readonly layers?: number
  readonly times?: Partial<Record<DecodePhase, Timing>>
  /** That an operation must read: representatives of the candidate blocks, and keys and values that are seen. */
  readonly bytes?: Partial<Record<DecodePhase, number>>
}

/** What `bench-decode` writes. Plain JSON. */
export interface DecodeResult {
  readonly format: 'phsa-decode/1'
  readonly createdAt: string
  readonly commit?: string
  readonly device: string
  /** Bytes a second of a copy within the GPU's memory, read and written. */
  readonly copyBytes: number
  /** Paged cases of the conformance suite, before anything is timed. */
  readonly conformance: { readonly passed: number; readonly failed: readonly string[] }
  readonly rows: readonly DecodeRow[]
}
