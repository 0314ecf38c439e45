import { bestBlocks } from '../best-blocks.js'
import { candidateBlocks } from '../candidate-blocks.js'
import type { AttentionSpec } from '../contract/attention-spec.js'
import { findQueryRow, type HostLayout, type Reals } from './host-layout.js'

/** Host form of `SelectTopInput`. */
export interface SelectTopArrays {
  /** [Hkv, n, maxBlocks] */
  readonly scores: Reals
  /** [n], -1 for none */
  readonly rows: Int32Array
  /** [Hkv, Tq, topK], changed in place */
  readonly selected: Int32Array
}

/** The choice from given scores, written over the named rows of `selected`; a row that belongs to no sequence becomes -1 (spec 4, 8). */
export function selectTop({ scores, rows, selected }: SelectTopArrays, layout: HostLayout, spec: AttentionSpec): void {
  const { kvHeads, topK } = spec
  for (const [index, row] of rows.entries()) {
    if (row < 0) continue
    const query = findQueryRow(layout, row)
    const candidates = query ? candidateBlocks(spec, query.position) : { start: 0, end: 0 }
    for (let kvHead = 0; kvHead < kvHeads; kvHead++) {
      const at = kvHead * rows.length + index
      const own = scores.subarray(at * layout.maxBlocks, (at + 1) * layout.maxBlocks)
      const target = selected.subarray((kvHead * layout.queryTokens + row) * topK, (kvHead * layout.queryTokens + row + 1) * topK)
      target.fill(-1)
      target.set(bestBlocks(own, candidates, topK))
    }
  }
}
