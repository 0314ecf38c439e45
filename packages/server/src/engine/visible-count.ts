import { type AttentionSpec, candidateBlocks } from '@phsa/core'

/** Keys that queries see, summed, for one query head: under a spec, and densely. */
export interface VisibleCount {
  readonly activated: number
  readonly visible: number
}

/** Exact sums over the positions from `start` up to, not including, `end` (spec 4, 5). */
export function countVisible(spec: AttentionSpec, start: number, end: number): VisibleCount {
  let activated = 0
  let visible = 0
  for (let position = start; position < end; position++) {
    const blocks = candidateBlocks(spec, position)
    const outside = (blocks.end - blocks.start) * spec.blockSize
    visible += position + 1
    activated += position + 1 - outside + Math.min(spec.topK * spec.blockSize, outside)
  }
  return { activated, visible }
}
