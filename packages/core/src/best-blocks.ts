import type { BlockRange } from './candidate-blocks.js'

/** The `count` candidates of highest score, ascending; ties go to the lower index; all of them where there are fewer (spec 4). */
export function bestBlocks(scores: ArrayLike<number>, candidates: BlockRange, count: number): number[] {
  const blocks = Array.from({ length: candidates.end - candidates.start }, (_, index) => candidates.start + index)
  // NaN never wins over a number, and the order stays total.
  const scoreOf = (block: number) => (Number.isNaN(scores[block]) ? Number.NEGATIVE_INFINITY : scores[block])
  const byScore = (a: number, b: number) => (scoreOf(a) === scoreOf(b) ? a - b : scoreOf(b) > scoreOf(a) ? 1 : -1)
  return blocks
    .sort(byScore)
    .slice(0, count)
    .sort((a, b) => a - b)
}
