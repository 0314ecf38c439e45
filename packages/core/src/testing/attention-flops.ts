import type { AttentionSpec } from '../contract/attention-spec.js'
import { PackedLayout } from '../packed-layout.js'
import type { AttentionCase, AttentionCheckName } from './attention-case.js'
import { candidateBlocks, queryRows, visibleKeys } from './packed-rows.js'

/** Multiplications and additions of one kernel on a case: 2 D a score, 2 D a weighted value (spec 1: L A for attention, L L / m for scoring). */
export function attentionFlops(attentionCase: AttentionCase, check: AttentionCheckName): number {
  const { spec, keyLengths, queryLengths } = attentionCase
  const layout = new PackedLayout(keyLengths, spec.blockSize, queryLengths)
  const perPair = 2 * spec.headDim * spec.heads
  switch (check) {
    case 'pool':
    case 'pool-backward':
      return 2 * layout.totalTokens * spec.kvHeads * spec.headDim
    case 'select':
    case 'selection-loss':
      return perPair * scoredBlocks(layout, spec)
    case 'select-top':
      return 0
    case 'block-mass':
      return perPair * attendedKeys(layout, { ...spec, denseBelow: Number.POSITIVE_INFINITY })
    case 'attend':
    case 'chunks':
      return 2 * perPair * attendedKeys(layout, spec)
    // Scores again, then dp, dq, dk and dv.
    case 'attend-backward':
    case 'nan-poison':
      return 5 * perPair * attendedKeys(layout, spec)
  }
}

function scoredBlocks(layout: PackedLayout, spec: AttentionSpec): number {
  let blocks = 0
  for (const { position } of queryRows(layout)) blocks += Math.floor((position + 1) / spec.blockSize) * spec.representatives
  return blocks
}

/** Visible keys over all rows, where a row chooses as many blocks as it can. */
function attendedKeys(layout: PackedLayout, spec: AttentionSpec): number {
  let keys = 0
  for (const row of queryRows(layout)) {
    const chosen = Int32Array.from(candidateBlocks(row.position, spec).slice(0, spec.topK))
    keys += visibleKeys(row, chosen, spec).length
  }
  return keys
}
