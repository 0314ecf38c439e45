import type { AttentionSpec } from '@phsa/core'
import type { TensorCheck } from '@phsa/core/testing'
import type { DataKind } from './attention-data.js'
import type { Phase, Work } from './phase-work.js'
import type { RowGroup } from './table-rows.js'

/** Repeated runs on the GPU, by its own clock. Plain JSON. */
export interface Timing {
  /** Median of the samples. */
  readonly milliseconds: number
  /** Median of the distances from it. */
  readonly deviation: number
  readonly samples: readonly number[]
}

/** One spec on one kind of data. Plain JSON. */
export interface DeviceRow {
  readonly group: RowGroup
  readonly length: number
  readonly data: DataKind
  readonly spec: AttentionSpec
  /**
   * - `measured`: every check held, then it was timed
   * - `wrong`: a check failed, so nothing was timed
   * - `failed`: it stopped with an error
   * - `left-out`: the time was over
   */
  readonly outcome: 'measured' | 'wrong' | 'failed' | 'left-out'
  readonly reason?: string
  /** Comparisons with float64 on sampled rows: how many, the one nearest to its bound, those that failed. */
  readonly gate?: { readonly checks: number; readonly worst: TensorCheck; readonly failed: readonly TensorCheck[] }
  /** Share of a query's blocks that the query before it chose too, where more than 64 could be chosen; 0 to 1. */
  readonly overlap?: number
  /** Sets of inputs that take turns, from 131,072 tokens on copies in other memory; 1 where one is many times the size of every cache. */
  readonly inputSets?: number
  /** Phases alone, `forward` as one: pool, select and attend in a row; `backward` after it. */
  readonly times?: Partial<Record<Phase | 'forward', Timing>>
  readonly work?: Partial<Record<Phase | 'forward', Work>>
}

/** Device memory over many calls. Plain JSON. */
export interface MemoryFlatness {
  readonly calls: number
  /** Free bytes as the driver says, tensors and bytes that are held: after the warm-up, then every so many calls. */
  readonly samples: readonly { readonly calls: number; readonly freeBytes: number; readonly tensors: number; readonly bytes: number }[]
  readonly flat: boolean
}

/** What `bench-attention` writes. Plain JSON. */
export interface DeviceResult {
  readonly format: 'phsa-attention/1'
  readonly createdAt: string
  readonly commit?: string
  readonly device: string
  /** Runs before those that count. */
  readonly warmUp: number
  /** Cases of the conformance suite, gradients among them, before anything is timed. */
  readonly conformance: { readonly passed: number; readonly failed: readonly string[] }
  readonly rows: readonly DeviceRow[]
  readonly memory?: MemoryFlatness
}
