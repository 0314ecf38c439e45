import { type AttentionSpec, isDense } from './contract/attention-spec.js'

/** Blocks of a sequence in order: `start` up to, not including, `end`. */
export interface BlockRange {
  readonly start: number
  readonly end: number
}

/**
 * Blocks that a query at this position may choose: complete and unforced ones (spec 4). They form one range, because the local window
 * always holds the one block that can be incomplete. Empty for a query that attends densely.
 */
export function candidateBlocks(spec: AttentionSpec, position: number): BlockRange {
  const start = spec.initTokens / spec.blockSize
  if (isDense(spec) || position < spec.denseBelow) return { start, end: start }
  const windowStart = Math.floor(position / spec.blockSize) - spec.localTokens / spec.blockSize + 1
  return { start, end: Math.max(start, windowStart) }
}
