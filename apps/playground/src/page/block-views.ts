import type { AttentionSettings, MethodChoice } from '../lab-contract.js'

/** What a query makes of a block: `later` ones come after it. */
export type BlockSeen = 'forced' | 'chosen' | 'no' | 'later'

/** What a query makes of each block of a text under one method (spec 4). */
export function blocksSeen(tokens: number, query: number, settings: AttentionSettings, { blocks }: MethodChoice): BlockSeen[] {
  const { blockSize, initTokens, localTokens } = settings
  const own = Math.floor(query / blockSize)
  const chosen = new Set(blocks)
  return Array.from({ length: Math.ceil(tokens / blockSize) }, (_, block) => {
    if (block > own) return 'later'
    if (block < initTokens / blockSize || block > own - localTokens / blockSize) return 'forced'
    return chosen.has(block) ? 'chosen' : 'no'
  })
}

/** Shares of attention from which on a block has the next level of the scale. */
export const LEVELS = [0.003, 0.01, 0.02, 0.04, 0.08] as const

/** Level of a block on the scale, 0 to 5. */
export function massLevel(share: number): number {
  return LEVELS.filter((least) => share >= least).length
}
