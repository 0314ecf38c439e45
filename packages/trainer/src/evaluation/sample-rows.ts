import { RandomStream } from '@phsa/core'

/** Which query rows of a batch are measured. */
export interface RowSample {
  /** First position that is measured. */
  readonly past: number
  /** Query rows, at most. */
  readonly rows: number
  readonly seed: number
}

/** Rows at positions past the border, ascending, each with the same chance. @param positions of every row in its sequence, [T] */
export function sampleRows(positions: Int32Array, { past, rows, seed }: RowSample): Int32Array {
  const eligible = Array.from(positions.keys()).filter((row) => positions[row] >= past)
  const random = new RandomStream(seed)
  for (let place = 0; place < Math.min(rows, eligible.length); place++) {
    const other = place + random.below(eligible.length - place)
    const kept = eligible[place]
    eligible[place] = eligible[other]
    eligible[other] = kept
  }
  return Int32Array.from(eligible.slice(0, rows)).sort()
}
