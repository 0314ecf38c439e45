import type { TensorCheck } from '@phsa/core/testing'
import type { MemoryFlatness, Timing } from '../attention/device-result.js'
import type { ModelRowPlan } from './model-plan.js'

/** GPU time of the backend calls of one kind. Plain JSON. */
export interface ClassTime {
  readonly milliseconds: number
  readonly calls: number
  /** Of matrix products by their shapes, a multiplication and an addition counting two; 0 for everything else. */
  readonly flops: number
}

/** A pass or step that was run again and again. Plain JSON. */
export interface RunTimes {
  /** Prefill: by the GPU's clock, one run after the other. A training or decoding step: by the host's, until its numbers have been downloaded. */
  readonly elapsed: Timing
  /** From the first call of a run to the end of its last one, the least of the runs; a full queue makes the host wait, which counts too. */
  readonly hostMilliseconds: number
  /** Of a step: from its beginning to the end of its last call, the data's preparation included; the least of the steps. */
  readonly hostUntilQueued?: number
  readonly tokensPerSecond: number
}

/** What was measured of one row. Plain JSON. */
export interface ModelFigures {
  /** Sequences that were decoded at once: fewer than planned where their caches do not fit. */
  readonly batch?: number
  /** Every call queued by itself. */
  readonly queued: RunTimes
  /** The same as one recorded step, where the backend records. */
  readonly captured?: RunTimes
  /** One run by kinds of calls, with marks between them and the host far enough ahead that the GPU never waits for it. */
  readonly classes: Readonly<Record<string, ClassTime>>
  /** Most bytes that tensors and caches held, the model's included, scratch memory of kernels not. */
  readonly peakBytes?: number
  /** Mean share of a query's blocks that the query before it chose too, over three layers; 0 to 1. */
  readonly overlap?: number
}

/** One row. Plain JSON. */
export type ModelRow = ModelRowPlan &
  (
    | ({ readonly outcome: 'measured' } & ModelFigures)
    /** `wrong`: results that are not finite; `failed`: an error; `left-out`: the time was over, or memory is too small. */
    | { readonly outcome: 'wrong' | 'failed' | 'left-out'; readonly reason: string }
  )

/** What `bench-model` writes. Plain JSON. */
export interface ModelResult {
  readonly format: 'phsa-model/1'
  readonly createdAt: string
  readonly commit?: string
  readonly device: string
  readonly parameters: number
  /** FLOP/s of one large bf16 matrix product through the backend. */
  readonly matrixFlops: number
  /** Comparisons of a small model with the reference, before anything is timed. */
  readonly gate: readonly TensorCheck[]
  readonly rows: readonly ModelRow[]
  /** Memory over training steps of a small model; its calls are steps. */
  readonly training?: MemoryFlatness
}
