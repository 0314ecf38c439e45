import type { BlockRange } from '@phsa/core'

/** Picks the candidates of highest score, ties to the lower index; a NaN counts as the lowest score (spec 4). Holds its scratch space. */
export class TopScores {
  readonly #scores: Float64Array
  readonly #blocks: Int32Array

  /** @param most largest count that will be asked for */
  constructor(most: number) {
    this.#scores = new Float64Array(most)
    this.#blocks = new Int32Array(most)
  }

  /** Writes up to `count` blocks to `target` from `offset` on, ascending. */
  pick(scoreOf: ArrayLike<number>, base: number, { start, end }: BlockRange, count: number, target: Int32Array, offset: number): void {
    const scores = this.#scores
    const blocks = this.#blocks
    let kept = 0
    for (let block = start; block < end; block++) {
      const given = scoreOf[base + block]
      const score = Number.isNaN(given) ? Number.NEGATIVE_INFINITY : given
      if (kept === count && !(score > scores[kept - 1])) continue
      if (kept < count) kept++
      let at = kept - 1
      for (; at > 0 && score > scores[at - 1]; at--) {
        scores[at] = scores[at - 1]
        blocks[at] = blocks[at - 1]
      }
      scores[at] = score
      blocks[at] = block
    }
    target.set(blocks.subarray(0, kept).sort(), offset)
  }
}
