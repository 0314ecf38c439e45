import { clusterEstimate, type Estimate } from './cluster-estimate.js'

/**
 * How much larger a share of right answers is than another one on the same records, with its 95 % interval. Policies answer most records alike, so
 * differences record by record say far more than two accuracies with an error each.
 * @param others as many as `answers`
 */
export function pairedDifference(answers: readonly boolean[], others: readonly boolean[]): Estimate {
  return clusterEstimate(answers.map((right, record) => ({ sum: Number(right) - Number(others[record]), count: 1 })))
}
