import type { PagedAttention, PagedBatch, PagedCache, PagedStepOutput, PagedTokens } from './contract/paged-attention.js'

/**
 * Appends the new tokens to a cache, chooses the blocks of their queries and attends (spec 4 to 6): by the backend's own operation where it has one for the
 * case, otherwise one after the other.
 */
export function attendStep(paged: PagedAttention, cache: PagedCache, tokens: PagedTokens, batch: PagedBatch): PagedStepOutput {
  const own = paged.step?.(cache, tokens, batch)
  if (own) return own
  const { q, k, v, marks } = tokens
  paged.append(cache, k, v, marks, batch)
  const selected = paged.selectBlocks(cache, q, batch)
  return { ...paged.attend(cache, q, selected, batch), selected }
}
