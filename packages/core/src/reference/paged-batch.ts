import type { TokenSlot } from '../append-tokens.js'
import type { PagedCacheOptions } from '../contract/paged-attention.js'
import { ShapeError } from '../errors/shape-error.js'

/** One step's new tokens and where they go: `PagedBatch` with its tensors read. */
export interface HostBatch {
  readonly sequences: number
  readonly queryTokens: number
  readonly maxTopK: number
  readonly queryStarts: Int32Array
  readonly keyLengths: Int32Array
  /** [S, P] */
  readonly pageTable: Int32Array
  /** P */
  readonly pagesPerSequence: number
  readonly topK: Int32Array
  readonly denseBelow: Int32Array
}

/** Row of k and v that holds a token of a sequence. @throws ShapeError where the page table has no page for it */
export function slotOf(batch: HostBatch, sequence: number, position: number, { pages, pageTokens }: PagedCacheOptions): number {
  const index = Math.floor(position / pageTokens)
  const page = index < batch.pagesPerSequence ? batch.pageTable[sequence * batch.pagesPerSequence + index] : -1
  if (page < 0 || page >= pages) {
    throw new ShapeError(
      `sequence ${sequence} has no page for its token ${position}: entry ${index} of its page table is ${page}; the pages are 0 to ${pages - 1}.`,
    )
  }
  return page * pageTokens + (position % pageTokens)
}

/** The new queries of a step with their sequence and position; rows past the last start are left out. */
export function* batchRows({
  sequences,
  queryStarts,
  keyLengths,
}: HostBatch): Generator<{ sequence: number; row: number; position: number }> {
  for (let sequence = 0; sequence < sequences; sequence++) {
    const queries = queryStarts[sequence + 1] - queryStarts[sequence]
    if (queries > keyLengths[sequence]) {
      throw new ShapeError(`sequence ${sequence} brings ${queries} queries but has ${keyLengths[sequence]} keys, the new ones included.`)
    }
    for (let index = 0; index < queries; index++) {
      yield { sequence, row: queryStarts[sequence] + index, position: keyLengths[sequence] - queries + index }
    }
  }
}

/** Where the new tokens of a step go. @throws ShapeError where the page table has no page for one of them */
export function* newSlots(batch: HostBatch, options: PagedCacheOptions): Generator<TokenSlot> {
  for (const { sequence, row, position } of batchRows(batch)) yield { row, slot: slotOf(batch, sequence, position, options) }
}
