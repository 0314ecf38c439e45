import type { AttentionSpec, Layout } from '@phsa/core'
import type { TfjsMemory } from '../memory/tfjs-memory.js'
import { firstPosition, type KeySequence } from './key-sequence.js'

/** One sequence of a packed layout. */
export interface PackedSequence extends KeySequence {
  /** Row of its first key. */
  readonly keyStart: number
  /** Its first block among the representatives. */
  readonly blockStart: number
}

/** The sequences of a layout that have keys. Rows past the last start belong to none. */
export function packedSequences(memory: TfjsMemory, layout: Layout, spec: AttentionSpec): PackedSequence[] {
  const queryStarts = memory.integers(layout.queryStarts)
  const keyStarts = memory.integers(layout.keyStarts)
  const blockStarts = memory.integers(layout.blockStarts)
  const sequences: PackedSequence[] = []
  for (let index = 0; index < layout.sequences; index++) {
    const keyStart = keyStarts[index]
    const keys = keyStarts[index + 1] - keyStart
    if (keys === 0) continue
    sequences.push({
      queryStart: queryStarts[index],
      queries: queryStarts[index + 1] - queryStarts[index],
      keys,
      denseBelow: spec.denseBelow,
      keyStart,
      blockStart: blockStarts[index],
      rowOf: (position) => keyStart + position,
    })
  }
  return sequences
}

/** Query rows of one sequence, as a caller listed them: of the `index`-th listed row, the position in the sequence. */
export interface ListedQuery {
  readonly index: number
  readonly row: number
  readonly position: number
}

/** The listed rows by sequence; -1 and rows of no sequence are left out. */
export function listedQueries(
  rows: Int32Array,
  sequences: readonly PackedSequence[],
): { sequence: PackedSequence; queries: ListedQuery[] }[] {
  return sequences.map((sequence) => {
    const { queryStart, queries } = sequence
    const shift = firstPosition(sequence) - queryStart
    const found: ListedQuery[] = []
    for (let index = 0; index < rows.length; index++) {
      const row = rows[index]
      if (row >= queryStart && row < queryStart + queries) found.push({ index, row, position: row + shift })
    }
    return { sequence, queries: found }
  })
}
