import type { TensorCheck } from '@phsa/core/testing'
import type { Machine } from '../machine.js'
import type { BenchGroup, Measurement } from './bench-case.js'
import type { SourceCommit } from './source-commit.js'
import type { TimingLimits } from './timing.js'

/** What came of one case on one backend. Plain JSON. */
export interface BenchResult {
  readonly case: string
  readonly group: BenchGroup
  readonly shape: Readonly<Record<string, number | string>>
  /**
   * - `measured`: every check held, then it was timed
   * - `wrong`: a check failed, so nothing was timed
   * - `failed`: it stopped with an error
   * - `refused`: the backend does not offer it
   */
  readonly outcome: 'measured' | 'wrong' | 'failed' | 'refused'
  /** The error, or what the backend says. */
  readonly reason?: string
  /** Comparisons with the reference before the timing: how many, and those that failed. */
  readonly gate?: { readonly checks: number; readonly worst?: TensorCheck; readonly failed: readonly TensorCheck[] }
  /** Empty unless measured. */
  readonly measurements: readonly Measurement[]
}

/** One backend of a report: its results, or why there are none. Plain JSON. */
export type BenchedBackend =
  | { readonly name: string; readonly available: true; readonly device: string; readonly results: readonly BenchResult[] }
  | { readonly name: string; readonly available: false; readonly reason: string }

/** The result file of `phsa bench`. Plain JSON. */
export interface BenchReport {
  readonly format: 'phsa-bench/1'
  readonly createdAt: string
  readonly version: string
  readonly commit?: SourceCommit
  readonly machine: Machine
  /** Runnable processes over 1, 5 and 15 minutes: figures from a busy machine are worth less. */
  readonly loadAverage: { readonly before: readonly number[]; readonly after: readonly number[] }
  readonly limits: TimingLimits
  readonly backends: readonly BenchedBackend[]
  /** Backends that were not asked for and are only measured on request. */
  readonly leftOut: readonly { readonly name: string; readonly reason: string }[]
}

/** Whether anything is wrong: a failed check, or an error. */
export function hasFailures({ backends }: Pick<BenchReport, 'backends'>): boolean {
  return backends.some((backend) => backend.available && backend.results.some(({ outcome }) => outcome === 'wrong' || outcome === 'failed'))
}
