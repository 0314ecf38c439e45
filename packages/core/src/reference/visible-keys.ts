import { candidateBlocks } from '../candidate-blocks.js'
import type { AttentionSpec } from '../contract/attention-spec.js'

/**
 * Positions of the keys that a query sees, ascending (spec 5).
 * @param chosen blocks selected for it, ascending, -1 padded
 */
export function visibleKeys(spec: AttentionSpec, position: number, chosen: Int32Array): number[] {
  const { blockSize, initTokens, denseBelow } = spec
  const end = position + 1
  const keys: number[] = []
  const see = (from: number, to: number) => {
    for (let key = from; key < Math.min(to, end); key++) keys.push(key)
  }
  if (position < denseBelow) {
    see(0, end)
    return keys
  }
  see(0, initTokens)
  for (const block of chosen) if (block >= 0) see(block * blockSize, (block + 1) * blockSize)
  // The local window starts where the candidates end: after the forced first blocks, or at the window's own first block.
  see(candidateBlocks(spec, position).end * blockSize, end)
  return keys
}
