import type { BlockRange } from './candidate-blocks.js'

/** The `count` candidates of highest score, ascending; ties go to the lower index; all of them where there are fewer (spec 4). */
export function bestBlocks(scores: ArrayLike<number>, candidates: BlockRange, count: number): number[] {
  // NaN never wins over a number, and the order stays total.
  const scoreOf = (block: number) => (Number.isNaN(scores[block]) ? Number.NEGATIVE_INFINITY : scores[block])
  // By falling score. Kept short instead of sorting all: most candidates are below the last one kept.
  const best: number[] = []
  for (let block = candidates.start; block < candidates.end; block++) {
    const score = scoreOf(block)
    let place = best.length
    while (place > 0 && score > scoreOf(best[place - 1])) place--
    if (place >= count) continue
    best.splice(place, 0, block)
    if (best.length > count) best.pop()
  }
  return best.sort((a, b) => a - b)
}
