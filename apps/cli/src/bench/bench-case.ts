import type { AttentionBackend, ModelBackend } from '@phsa/core'
import type { TensorCheck } from '@phsa/core/testing'
import type { Interruption } from '../interruption.js'
import type { Timing, TimingLimits } from './timing.js'

/** Kinds of cases, as `--only` names them. */
export const BENCH_GROUPS = ['matmul', 'attention', 'step', 'generate'] as const
export type BenchGroup = (typeof BENCH_GROUPS)[number]

/** What a case runs with. */
export interface BenchContext<B extends AttentionBackend = ModelBackend> {
  readonly backend: B
  /** Float64, slow: what the backend's results are compared with. */
  readonly reference: ModelBackend
  readonly limits: TimingLimits
  readonly interruption: Interruption
}

/** One figure of a case. Plain JSON. */
export interface Measurement {
  /** forward, backward, prefill, ... */
  readonly name: string
  readonly timing: Timing
  /** Multiplications and additions of one run; absent where they are not counted. */
  readonly flops?: number
  /** Tokens of one run; absent where the run is not about tokens. */
  readonly tokens?: number
  /** Share of the time that attention takes, and how it was found. */
  readonly attentionShare?: AttentionShare
}

/** How much of a training step is attention. Plain JSON. */
export interface AttentionShare {
  /** 0 to 1. */
  readonly share: number
  /**
   * - `timed-calls`: the calls of attention were timed inside of steps, on a backend that returns when it is done
   * - `difference`: steps with and without attention were timed in turns, on a backend that only queues work
   */
  readonly method: 'timed-calls' | 'difference'
  /** Steps it was measured on, apart from those that `timing` counts. */
  readonly steps: number
}

/** A case that any backend can run: it needs attention only. */
export type AttentionBenchCase = CaseOf<'attention', AttentionBackend>

/** A case that needs a decoder's other operations too. */
export type ModelBenchCase = CaseOf<Exclude<BenchGroup, 'attention'>, ModelBackend>

/** One thing to measure: first whether it is right, then how long it takes. */
export type BenchCase = AttentionBenchCase | ModelBenchCase

interface CaseOf<G extends BenchGroup, B extends AttentionBackend> {
  readonly group: G
  readonly name: string
  /** Sizes and settings, for the result file. */
  readonly shape: Readonly<Record<string, number | string>>
  /** Compares results with the reference. Nothing is timed unless every check holds. */
  readonly gate: (context: BenchContext<B>) => Promise<readonly TensorCheck[]>
  readonly measure: (context: BenchContext<B>) => Promise<readonly Measurement[]>
}
