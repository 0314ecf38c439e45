import { type AttentionSpec, isDense } from '@phsa/core'
import { firstPosition, type KeySequence } from './key-sequence.js'
import type { QueryChunk } from './query-chunks.js'

/** Blocks selected for a query row by one KV head: `topK` entries from `offset` on, ascending, -1 padded. */
export interface SelectedBlocks {
  readonly blocks: Int32Array
  readonly topK: number
  offset(row: number): number
}

/** The keys that the queries of a chunk see together, and which of them each query sees (spec 5). */
export interface VisibleKeys {
  /** Rows of k and v, by rising position: [U]. A block that no query of the chunk sees is not among them, so its NaN stay out (spec 11). */
  readonly rows: Int32Array
  /** [queries, U]: 0 where the query sees the key, else -Infinity; undefined where all see all. */
  readonly mask: Float32Array | undefined
}

/** Collects the keys of a chunk of queries: forced blocks, and the union of the selected ones. */
export function visibleKeys(sequence: KeySequence, chunk: QueryChunk, spec: AttentionSpec, selected: SelectedBlocks): VisibleKeys {
  const { blockSize } = spec
  const shift = firstPosition(sequence)
  const last = shift + chunk.end - 1
  const blocks = Math.floor(last / blockSize) + 1
  // First column of each block; -1 for a block that is not gathered.
  const columns = new Int32Array(blocks).fill(-1)
  for (let query = chunk.first; query < chunk.end; query++) {
    forEachVisibleRun(sequence, query, spec, selected, (first, end) => columns.fill(0, first, end))
  }
  const rows: number[] = []
  for (let block = 0; block < blocks; block++) {
    if (columns[block] < 0) continue
    columns[block] = rows.length
    const end = Math.min((block + 1) * blockSize, last + 1)
    const row = sequence.rowOf(block * blockSize)
    for (let position = block * blockSize; position < end; position++) rows.push(row + position - block * blockSize)
  }
  const width = rows.length
  if (chunk.end - chunk.first === 1) return { rows: Int32Array.from(rows), mask: undefined }
  const mask = new Float32Array((chunk.end - chunk.first) * width).fill(Number.NEGATIVE_INFINITY)
  for (let query = chunk.first; query < chunk.end; query++) {
    const base = (query - chunk.first) * width
    forEachVisibleRun(sequence, query, spec, selected, (first, end) => {
      // Blocks of a run lie one after the other among the columns too.
      const from = base + columns[first]
      mask.fill(0, from, from + Math.min(end * blockSize, shift + query + 1) - first * blockSize)
    })
  }
  return { rows: Int32Array.from(rows), mask }
}

/** Visits the runs of blocks that a query sees, clipped to its own block. */
export function forEachVisibleRun(
  sequence: KeySequence,
  query: number,
  spec: AttentionSpec,
  selected: SelectedBlocks,
  visit: (first: number, end: number) => void,
): void {
  const { blockSize, initTokens, localTokens } = spec
  const position = firstPosition(sequence) + query
  const end = Math.floor(position / blockSize) + 1
  if (isDense(spec) || position < sequence.denseBelow) {
    visit(0, end)
    return
  }
  const init = Math.min(initTokens / blockSize, end)
  const local = Math.max(init, end - localTokens / blockSize)
  if (init > 0) visit(0, init)
  if (local < end) visit(local, end)
  const offset = selected.offset(sequence.queryStart + query)
  for (let index = 0; index < selected.topK; index++) {
    const block = selected.blocks[offset + index]
    if (block >= 0 && block < end) visit(block, block + 1)
  }
}
