import type { AttentionBackend, Tensor } from '@phsa/core'
import { isModelBackend } from '../backends.js'
import type { Interruption } from '../interruption.js'

/** Seconds of repeated runs. Plain JSON. */
export interface Timing {
  /** Runs before the first that counts. */
  readonly warmUp: number
  /** Seconds of each run that counts, in order. */
  readonly samples: readonly number[]
  readonly median: number
  readonly least: number
  readonly most: number
  /** Median of the distances from the median: a spread that one slow run does not move. */
  readonly deviation: number
}

/** How often something is run. */
export interface TimingLimits {
  readonly warmUp: number
  /** Runs at least, unless `patience` ends first. */
  readonly least: number
  readonly most: number
  /** Seconds after which enough runs are enough. */
  readonly budget: number
  /** Seconds after which any number of runs, at least one, is enough. */
  readonly patience: number
}

/** The usual effort: fast things are run up to 30 times, slow ones at least 3 times, very slow ones as often as a minute allows. */
export const USUAL_LIMITS: TimingLimits = { warmUp: 1, least: 3, most: 30, budget: 3, patience: 60 }

/** Whether these samples, in seconds, are enough. */
export function isEnough(samples: readonly number[], { least, most, budget, patience }: TimingLimits): boolean {
  const total = samples.reduce((sum, seconds) => sum + seconds, 0)
  return samples.length >= most || (samples.length > 0 && total >= patience) || (samples.length >= least && total >= budget)
}

/**
 * Runs something again and again and times it.
 * @param run resolves once the work is done, not just queued
 * @throws the signal's reason when interrupted between two runs
 */
export async function timeRuns(run: () => Promise<void>, limits: TimingLimits, interruption: Interruption): Promise<Timing> {
  const once = async () => {
    await interruption.breathe()
    interruption.signal.throwIfAborted()
    const started = performance.now()
    await run()
    return (performance.now() - started) / 1000
  }
  for (let index = 0; index < limits.warmUp; index++) await once()
  const samples: number[] = []
  while (!isEnough(samples, limits)) samples.push(await once())
  return timingOf(samples, limits.warmUp)
}

/** Sums up samples. @param samples seconds, at least one */
export function timingOf(samples: readonly number[], warmUp: number): Timing {
  const middle = medianOf(samples)
  return {
    warmUp,
    samples,
    median: middle,
    least: Math.min(...samples),
    most: Math.max(...samples),
    deviation: medianOf(samples.map((sample) => Math.abs(sample - middle))),
  }
}

/** The middle one, or the mean of both in the middle. @param values at least one */
export function medianOf(values: readonly number[]): number {
  const sorted = [...values].sort((left, right) => left - right)
  const half = Math.floor(sorted.length / 2)
  return sorted.length % 2 === 1 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2
}

/**
 * Waits until a result is computed, and with it everything that was queued before (contract: work runs in call order). Downloads one row
 * of it rather than the whole: the copy would be timed as well. A backend of attention only cannot pick a row; there a number that is uploaded
 * behind the result comes back after it.
 * @param result f32, of two dimensions or more
 */
export async function waitFor(backend: AttentionBackend, result: Tensor): Promise<void> {
  const { memory } = backend
  const [rows, ...row] = result.shape
  const width = row.reduce((product, extent) => product * extent, 1)
  const first = memory.scope(() => {
    const index = memory.upload(Int32Array.of(0), [1])
    return isModelBackend(backend) ? backend.ops.embedding(memory.reshape(result, [rows, width]), index) : index
  })
  try {
    await memory.download(first)
  } finally {
    first.dispose()
  }
}
