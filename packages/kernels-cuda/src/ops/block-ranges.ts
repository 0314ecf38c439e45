/** Items of one launch, each with the first of its thread blocks. */
export interface BlockRange<T> {
  readonly items: readonly { readonly item: T; readonly firstBlock: number }[]
  readonly blocks: number
}

/**
 * Shares out items to launches that take up to `most` each, every item with thread blocks of its own.
 * @param blocksOf thread blocks of an item; one without any is left out
 */
export function blockRanges<T>(items: readonly T[], most: number, blocksOf: (item: T) => number): BlockRange<T>[] {
  const filled = items.filter((item) => blocksOf(item) > 0)
  const ranges: BlockRange<T>[] = []
  for (let start = 0; start < filled.length; start += most) {
    let blocks = 0
    const own = filled.slice(start, start + most).map((item) => {
      const firstBlock = blocks
      blocks += blocksOf(item)
      return { item, firstBlock }
    })
    ranges.push({ items: own, blocks })
  }
  return ranges
}
