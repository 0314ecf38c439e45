import type { AttentionSpec } from '@phsa/core'
import type { GradientSlab } from './selected-gradient.js'

const ELEMENT_BYTES = 2

/** A slab without its address, and the bytes of the parts of dq: bf16 [kvHeads, rows, topK, G, D]. */
export type SlabExtent = Omit<GradientSlab, 'dqPartial'> & { readonly bytes: number }

/**
 * Cuts the queries of all KV heads into slabs whose parts of dq take at most `most` bytes: as many KV heads at once as have room, or else some
 * rows of one. At least one slab, which may be of no rows: the gradients of k and v are finished by the last of a KV head.
 */
export function gradientSlabs(
  queryTokens: number,
  { heads, kvHeads, headDim, topK }: Pick<AttentionSpec, 'heads' | 'kvHeads' | 'headDim' | 'topK'>,
  most: number,
): SlabExtent[] {
  const rowBytes = topK * (heads / kvHeads) * headDim * ELEMENT_BYTES
  const rowsThatFit = rowBytes === 0 ? Number.POSITIVE_INFINITY : Math.floor(most / rowBytes)
  const rowsAtOnce = Math.max(1, Math.min(queryTokens, rowsThatFit))
  const headsAtOnce = Math.max(1, Math.min(kvHeads, Math.floor(rowsThatFit / rowsAtOnce)))
  const slabs: SlabExtent[] = []
  for (let firstKvHead = 0; firstKvHead < kvHeads; firstKvHead += headsAtOnce) {
    const count = Math.min(headsAtOnce, kvHeads - firstKvHead)
    let firstRow = 0
    do {
      const rows = Math.min(rowsAtOnce, queryTokens - firstRow)
      const last = firstRow + rows === queryTokens
      slabs.push({ firstRow, rows, firstKvHead, kvHeads: count, last, bytes: rows * count * rowBytes })
      firstRow += rowsAtOnce
    } while (firstRow < queryTokens)
  }
  return slabs
}
