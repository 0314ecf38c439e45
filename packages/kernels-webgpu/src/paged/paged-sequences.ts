import type { PagedBatch, PagedCacheOptions } from '@phsa/core'
import type { Sequences } from '../attention/call-params.js'
import { pagedNumbersAt } from '../attention/sequence-numbers.js'
import type { ParamValues } from '../device/param-layout.js'

/** The `Sequences` of a paged batch. */
export function pagedSequences(batch: PagedBatch, { pageTokens }: PagedCacheOptions): ParamValues<typeof Sequences> {
  return {
    ...pagedNumbersAt(batch),
    count: batch.sequences,
    queryTokens: batch.queryTokens,
    keyTokens: 0,
    blocks: 0,
    isPaged: 1,
    pagesPerSequence: batch.pageTable.shape[1],
    pageTokens,
  }
}
