import { phsaPolicy } from '@phsa/core'
import { type DecoderModel, defaultPageTokens, PagedDecoder } from '@phsa/model'
import { UsageError } from '../usage-error.js'

/** How large the key/value cache is, as the command line has it. */
export interface CacheChoice {
  readonly maxTokens?: number
  readonly cacheTokens?: number
  readonly cacheGib?: number
}

/**
 * Tokens that the cache holds; undefined leaves it to the server.
 * @throws UsageError where it is too small for `--max-tokens`, or those are more than the model's positions
 */
export function cacheTokens(model: DecoderModel, { maxTokens, ...choice }: CacheChoice): number | undefined {
  const { maxPositions } = model.config
  if (maxTokens !== undefined && maxTokens > maxPositions) {
    throw new UsageError(`--max-tokens is ${maxTokens}; the model has ${maxPositions} positions. Ask for no more.`)
  }
  const tokens = choice.cacheGib === undefined ? choice.cacheTokens : tokensIn(choice.cacheGib * 2 ** 30, model)
  const needed = maxTokens ?? 2
  if (tokens !== undefined && tokens < needed) {
    throw new UsageError(`the cache holds ${tokens} tokens, and one request may have ${needed}; give it more room, or fewer --max-tokens.`)
  }
  return tokens
}

/** Whole pages' worth. */
function tokensIn(bytes: number, model: DecoderModel): number {
  const pageTokens = defaultPageTokens(model.phsa.blockSize)
  const one = new PagedDecoder(model, { attention: { policy: phsaPolicy, phsa: model.phsa }, pages: 1, pageTokens })
  try {
    return Math.floor(bytes / one.bytes) * pageTokens
  } finally {
    one.dispose()
  }
}
