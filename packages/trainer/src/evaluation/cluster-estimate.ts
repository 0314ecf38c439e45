/** What one window of text adds to a mean: queries or tokens of one text are alike, so that only windows count as independent. */
export interface Cluster {
  readonly sum: number
  readonly count: number
}

/** A mean over all counted values with its 95 % interval. */
export interface Estimate {
  readonly mean: number
  /** By Student's distribution over the clusters; absent with fewer than two. */
  readonly interval?: readonly [low: number, high: number]
}

/** Mean of clustered values: the sums over the counts, with the interval of a quotient of two sums. @param clusters at least one with a count above 0 */
export function clusterEstimate(clusters: readonly Cluster[]): Estimate {
  const counted = clusters.filter(({ count }) => count > 0)
  const total = counted.reduce((all, { count }) => all + count, 0)
  const mean = counted.reduce((all, { sum }) => all + sum, 0) / total
  const freedom = counted.length - 1
  if (freedom < 1) return { mean }
  const squares = counted.reduce((all, { sum, count }) => all + (sum - mean * count) ** 2, 0)
  const half = (studentQuantile(freedom) * Math.sqrt((squares * counted.length) / freedom)) / total
  return { mean, interval: [mean - half, mean + half] }
}

/** 97.5 % quantile of Student's distribution for 1 to 10 degrees of freedom. */
const SMALL_QUANTILES = [12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.306, 2.2622, 2.2281]
const NORMAL_QUANTILE = 1.959963984540054

/** Beyond the table the series of Cornish and Fisher, which is right to three digits there. */
function studentQuantile(freedom: number): number {
  if (freedom <= SMALL_QUANTILES.length) return SMALL_QUANTILES[freedom - 1]
  const z = NORMAL_QUANTILE
  const first = (z ** 3 + z) / (4 * freedom)
  const second = (5 * z ** 5 + 16 * z ** 3 + 3 * z) / (96 * freedom ** 2)
  const third = (3 * z ** 7 + 19 * z ** 5 + 17 * z ** 3 - 15 * z) / (384 * freedom ** 3)
  return z + first + second + third
}
