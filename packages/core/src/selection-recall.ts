import { InvalidConfigError } from './errors/invalid-config-error.js'
import { ShapeError } from './errors/shape-error.js'

/**
 * Share of the oracle's blocks that a selection chose too, at equal budget (spec 9).
 * @param selected [Hkv, n, topK], -1 padded
 * @param oracle the same shape: `topBlocks` of the block masses, or what the oracle policy selected
 * @returns 0 to 1, over all blocks of all rows together
 * @throws ShapeError for different lengths; InvalidConfigError where the oracle chose nothing
 */
export function selectionRecall(selected: ArrayLike<number>, oracle: ArrayLike<number>, topK: number): number {
  if (selected.length !== oracle.length || (selected.length > 0 && !(topK > 0 && selected.length % topK === 0))) {
    throw new ShapeError(
      `selected has ${selected.length} entries and the oracle ${oracle.length}; both are rows of topK, which is ${topK}.`,
    )
  }
  let found = 0
  let wanted = 0
  for (let start = 0; start < oracle.length; start += topK) {
    const chosen = new Set(Array.from({ length: topK }, (_, rank) => selected[start + rank]))
    for (let rank = 0; rank < topK; rank++) {
      const block = oracle[start + rank]
      if (block < 0) continue
      wanted++
      if (chosen.has(block)) found++
    }
  }
  if (wanted === 0)
    throw new InvalidConfigError(
      'oracle',
      'the oracle chose no blocks, so there is nothing to recall; measure a longer text, or topK above 0.',
    )
  return found / wanted
}
