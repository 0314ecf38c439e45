import { type AttentionSpec, isDense } from '../contract/attention-spec.js'
import type { PackedLayout } from '../packed-layout.js'

/** One query row of a packed layout. */
export interface QueryRow {
  readonly row: number
  readonly sequence: number
  /** i, its position in the sequence. */
  readonly position: number
  /** Row of k of the sequence's first key. */
  readonly keyStart: number
  /** First block of the sequence in the representatives tensor. */
  readonly blockStart: number
}

/** All query rows in order. */
export function* queryRows(layout: PackedLayout): Generator<QueryRow> {
  for (let sequence = 0; sequence < layout.sequences; sequence++) {
    const first = layout.firstQueryPosition(sequence)
    for (let index = 0; index < layout.queryLengths[sequence]; index++) {
      yield {
        row: layout.queryStarts[sequence] + index,
        sequence,
        position: first + index,
        keyStart: layout.keyStarts[sequence],
        blockStart: layout.blockStarts[sequence],
      }
    }
  }
}

/** Whether a query sees block t without choosing it (spec 4). A query below denseBelow sees all. */
export function isForced(block: number, position: number, spec: AttentionSpec): boolean {
  if (position < spec.denseBelow || isDense(spec)) return true
  const own = Math.floor(position / spec.blockSize)
  if (block > own) return false
  return block < spec.initTokens / spec.blockSize || block > own - spec.localTokens / spec.blockSize
}

/** Complete and unforced blocks of a query, ascending (spec 4). */
export function candidateBlocks(position: number, spec: AttentionSpec): number[] {
  const complete = Math.floor((position + 1) / spec.blockSize)
  const candidates: number[] = []
  for (let block = 0; block < complete; block++) if (!isForced(block, position, spec)) candidates.push(block)
  return candidates
}

/** Rows of k that a query sees through forced and selected blocks, ascending (spec 5). @param chosen its entries of `selected` */
export function visibleKeys({ position, keyStart }: QueryRow, chosen: Int32Array, spec: AttentionSpec): number[] {
  const keys: number[] = []
  for (let block = 0; block <= Math.floor(position / spec.blockSize); block++) {
    if (!isForced(block, position, spec) && !chosen.includes(block)) continue
    const end = Math.min((block + 1) * spec.blockSize, position + 1)
    for (let token = block * spec.blockSize; token < end; token++) keys.push(keyStart + token)
  }
  return keys
}
