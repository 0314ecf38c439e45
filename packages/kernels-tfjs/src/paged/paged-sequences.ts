import { type PagedBatch, type PagedCacheOptions, ShapeError, subBlockTokens, type TokenSlot } from '@phsa/core'
import { firstPosition, type KeySequence } from '../attention/key-sequence.js'
import type { SelectingSequence } from '../attention/score-blocks.js'
import type { TfjsMemory } from '../memory/tfjs-memory.js'

/**
 * The sequences of a step that bring queries.
 * @throws ShapeError where a sequence brings more queries than it has keys, or its page table lacks a page for one of its keys
 */
export function pagedSequences(memory: TfjsMemory, batch: PagedBatch, options: PagedCacheOptions): SelectingSequence[] {
  const queryStarts = memory.integers(batch.queryStarts)
  const keyLengths = memory.integers(batch.keyLengths)
  const topK = memory.integers(batch.topK)
  const denseBelow = memory.integers(batch.denseBelow)
  const pageTable = memory.integers(batch.pageTable)
  const pagesPerSequence = batch.pageTable.shape[1]
  const { spec, pageTokens, pages } = options
  const found: SelectingSequence[] = []
  for (let sequence = 0; sequence < batch.sequences; sequence++) {
    const queries = queryStarts[sequence + 1] - queryStarts[sequence]
    const keys = keyLengths[sequence]
    if (queries > keys) {
      throw new ShapeError(`sequence ${sequence} brings ${queries} queries but has ${keys} keys, the new ones included.`)
    }
    if (queries === 0) continue
    const table = pageTable.subarray(sequence * pagesPerSequence, (sequence + 1) * pagesPerSequence)
    checkPages(sequence, table, Math.ceil(keys / pageTokens), pages)
    const rowOf = (position: number) => table[Math.floor(position / pageTokens)] * pageTokens + (position % pageTokens)
    const size = subBlockTokens(spec)
    found.push({
      queryStart: queryStarts[sequence],
      queries,
      keys,
      denseBelow: denseBelow[sequence],
      topK: Math.max(0, Math.min(topK[sequence], batch.maxTopK)),
      rowOf,
      representatives: (kvHead, count) => {
        const rows = Int32Array.from({ length: count }, (_, subBlock) => rowOf(subBlock * size) / size)
        return { heads: spec.kvHeads, head: kvHead, rows }
      },
    })
  }
  return found
}

/** Where the new tokens of a step go. */
export function* newSlots(sequences: readonly KeySequence[]): Generator<TokenSlot> {
  for (const sequence of sequences) {
    for (let query = 0; query < sequence.queries; query++) {
      yield { row: sequence.queryStart + query, slot: sequence.rowOf(firstPosition(sequence) + query) }
    }
  }
}

function checkPages(sequence: number, table: Int32Array, needed: number, pages: number): void {
  for (let index = 0; index < needed; index++) {
    const page = index < table.length ? table[index] : -1
    if (page >= 0 && page < pages) continue
    throw new ShapeError(
      `sequence ${sequence} needs ${needed} pages, but entry ${index} of its page table is ${page}; the pages are 0 to ${pages - 1}.`,
    )
  }
}
