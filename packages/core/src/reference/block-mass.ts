import type { AttentionSpec } from '../contract/attention-spec.js'
import { visibleScores } from './attend.js'
import { findQueryRow, type HostLayout, type Reals } from './host-layout.js'
import { softmax } from './softmax.js'

/** Host form of `BlockMassInput`. */
export interface BlockMassArrays {
  /** [Tq, Hq, D] */
  readonly q: Reals
  /** [Tk, Hkv, D] */
  readonly k: Reals
  /** [n], -1 for none */
  readonly rows: Int32Array
}

/** Dense attention probability on each block, summed over the heads of the group: [Hkv, n, maxBlocks] (spec 9, 10). */
export function blockMass({ q, k, rows }: BlockMassArrays, layout: HostLayout, spec: AttentionSpec): Float64Array {
  const { heads, kvHeads, headDim, blockSize } = spec
  const group = heads / kvHeads
  const mass = new Float64Array(kvHeads * rows.length * layout.maxBlocks)
  for (const [index, row] of rows.entries()) {
    const query = findQueryRow(layout, row)
    if (!query) continue
    const keyRows = Array.from({ length: query.position + 1 }, (_, key) => query.keyStart + key)
    for (let head = 0; head < heads; head++) {
      const kvHead = Math.floor(head / group)
      const target = (kvHead * rows.length + index) * layout.maxBlocks
      const probabilities = softmax(visibleScores(q, (row * heads + head) * headDim, k, keyRows, kvHead, spec))
      for (let key = 0; key < keyRows.length; key++) mass[target + Math.floor(key / blockSize)] += probabilities[key]
    }
  }
  return mass
}
