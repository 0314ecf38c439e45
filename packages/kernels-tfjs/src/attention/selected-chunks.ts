import type { AttentionSpec } from '@phsa/core'
import { firstPosition, type KeySequence } from './key-sequence.js'
import { queryChunks } from './query-chunks.js'
import { consecutive } from './query-group.js'
import type { SelectedBlocks } from './visible-keys.js'

/** Queries that selected the same block. */
export interface SelectedChunk {
  /** Rows of q. */
  readonly queryRows: Int32Array
  /** Rows of k and v. */
  readonly keyRows: Int32Array
}

const QUERIES = 1024

/**
 * The selected blocks of the listed queries of a sequence, block by block with the queries that selected each: where neighbours select
 * differently, a block's queries lie far apart, but there are many of them.
 */
export function* selectedChunks(
  sequence: KeySequence,
  queries: readonly number[],
  { blockSize, heads, kvHeads }: AttentionSpec,
  selected: SelectedBlocks,
): Generator<SelectedChunk> {
  const rowsOf: number[][] = Array.from({ length: Math.ceil(sequence.keys / blockSize) }, () => [])
  for (const query of queries) {
    const position = firstPosition(sequence) + query
    if (position < sequence.denseBelow) continue
    const row = sequence.queryStart + query
    const offset = selected.offset(row)
    for (let index = offset; index < offset + selected.topK; index++) {
      const block = selected.blocks[index]
      // What is selected is complete, so all of its keys are visible.
      if (block >= 0 && (block + 1) * blockSize <= position + 1) rowsOf[block].push(row)
    }
  }
  for (const [block, rows] of rowsOf.entries()) {
    for (const { first, end } of queryChunks(0, rows.length, QUERIES, heads / kvHeads, blockSize)) {
      const keyRows = consecutive(sequence.rowOf(block * blockSize), blockSize)
      yield { queryRows: Int32Array.from(rows.slice(first, end)), keyRows }
    }
  }
}
