/** A block of keys as a row of queries sees it. */
export interface BlockCell {
  readonly query: number
  readonly block: number
  /** Always visible, chosen by score, or never read. */
  readonly kind: 'forced' | 'chosen' | 'skipped'
}

/** Whether a block is the first one, or in a local window of two blocks. */
export function isForced(block: number, query: number): boolean {
  return block === 0 || block > query - 2
}

/**
 * The causal pattern of blocks, drawn and not measured: two chosen blocks a row, of which neighbouring rows often share one. The same for the same size.
 * @param size rows and columns
 */
export function blockPattern(size: number): BlockCell[] {
  let state = 7
  const below = (count: number) => {
    state = (state * 1103515245 + 12345) % 2 ** 31
    return Math.floor((state / 2 ** 31) * count)
  }
  let chosen: number[] = []
  return Array.from({ length: size }, (_, query) => {
    const candidates = Array.from({ length: Math.max(0, query - 2) }, (_, index) => index + 1)
    const kept = chosen.filter(() => below(100) < 72)
    const others = candidates.filter((block) => !kept.includes(block))
    while (kept.length < 2 && others.length > 0) kept.push(...others.splice(below(others.length), 1))
    chosen = kept
    return Array.from({ length: query + 1 }, (_, block): BlockCell => {
      const kind = isForced(block, query) ? 'forced' : kept.includes(block) ? 'chosen' : 'skipped'
      return { query, block, kind }
    })
  }).flat()
}
