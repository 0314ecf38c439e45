/** A loss far above the recent ones: a note, the run goes on. */
export interface LossSpike {
  readonly loss: number
  /** Median of the recent losses. */
  readonly expected: number
}

/** Losses that are looked back on; a new level becomes the expected one within half of them. */
const WINDOW = 64
/** Below it, there is nothing to compare with. */
const FEWEST = 16
/** Deviations above the median that make a spike. */
const DEVIATIONS = 6
/** Least deviation, as a part of the median: a run that has settled has next to none. */
const LEAST_DEVIATION = 0.01
/** Median absolute deviation to standard deviation, for normal noise. */
const NORMAL = 1.4826

/** The note on a loss, where it is a spike. @param recent losses of the steps before, from `withLoss` */
export function lossSpike(loss: number, recent: readonly number[]): LossSpike | undefined {
  if (!Number.isFinite(loss) || recent.length < FEWEST) return undefined
  const expected = median(recent)
  const deviation = Math.max(NORMAL * median(recent.map((other) => Math.abs(other - expected))), LEAST_DEVIATION * Math.abs(expected))
  return loss > expected + DEVIATIONS * deviation ? { loss, expected } : undefined
}

/** The recent losses with one more; one that is not finite has no part in them. */
export function withLoss(recent: readonly number[], loss: number): readonly number[] {
  return Number.isFinite(loss) ? [...recent, loss].slice(-WINDOW) : recent
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((left, right) => left - right)
  const middle = sorted.length >> 1
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2
}
