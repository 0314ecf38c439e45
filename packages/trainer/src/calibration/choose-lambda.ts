import { type Cluster, clusterEstimate, type Estimate } from '../evaluation/cluster-estimate.js'

/** Recalls of one KV head by window of text and candidate lambda. */
export interface LambdaSamples {
  /** `[windows][candidates]`: recall summed over the window's sampled queries. */
  readonly sums: readonly (readonly number[])[]
  /** `[windows]`: the queries. */
  readonly counts: readonly number[]
}

/** Which candidate one KV head takes. */
export interface LambdaChoice {
  /** Index of the candidate. */
  readonly candidate: number
  /** What the best candidate gains over the one that was in place, on the windows that it was chosen on. */
  readonly gain: Estimate
}

/**
 * The candidate of highest recall, if it gains on the one in place by more than the 95 % interval of the paired differences between windows; else the one
 * in place: a difference that may be noise changes nothing. Among candidates of equal recall the first. The interval is that of one comparison, and the best of
 * several is taken: what the choice is worth is measured on other windows.
 * @param before index of the candidate in place
 */
export function chooseLambda(samples: LambdaSamples, before: number): LambdaChoice {
  const candidates = samples.sums[0].map((_, candidate) => candidate)
  const total = (candidate: number) => samples.sums.reduce((sum, window) => sum + window[candidate], 0)
  const best = candidates.reduce((best, candidate) => (total(candidate) > total(best) ? candidate : best), before)
  const gain = lambdaGain(samples, best, before)
  return { candidate: gain.interval && gain.interval[0] > 0 ? best : before, gain }
}

/** Recall of one candidate less that of another on the same queries. */
export function lambdaGain(samples: LambdaSamples, candidate: number, other: number): Estimate {
  return clusterEstimate(pairedClusters(samples, candidate, other))
}

/** The differences by window, to be added up over heads. */
export function pairedClusters({ sums, counts }: LambdaSamples, candidate: number, other: number): Cluster[] {
  return sums.map((window, index) => ({ sum: window[candidate] - window[other], count: counts[index] }))
}
