import { InvalidConfigError } from './errors/invalid-config-error.js'

/**
 * Perplexity of tokens from their losses: exp of the mean (spec 9).
 * @param losses negative log-likelihood of each token, natural logarithm; at least one
 */
export function perplexity(losses: ArrayLike<number>): number {
  if (losses.length === 0) throw new InvalidConfigError('losses', 'perplexity of no tokens is not defined; pass at least one loss.')
  let sum = 0
  for (let index = 0; index < losses.length; index++) sum += losses[index]
  return Math.exp(sum / losses.length)
}
