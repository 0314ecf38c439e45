import { bestBlocks } from '../best-blocks.js'
import { candidateBlocks } from '../candidate-blocks.js'
import type { AttentionSpec } from '../contract/attention-spec.js'
import { type HostLayout, queryRows, type Reals } from './host-layout.js'
import { scoreBlocks } from './score-blocks.js'

/** Host form of `SelectInput`. */
export interface SelectArrays {
  /** [Tq, Hq, D] */
  readonly q: Reals
  /** [Hkv, blocks * r, D] */
  readonly reps: Reals
}

/** The topK blocks of each query and KV head, [Hkv, Tq, topK], ascending, -1 padded (spec 4). */
export function selectBlocks({ q, reps }: SelectArrays, layout: HostLayout, spec: AttentionSpec): Int32Array {
  const { heads, kvHeads, headDim, topK, representatives } = spec
  const group = heads / kvHeads
  const selected = new Int32Array(kvHeads * layout.queryTokens * topK).fill(-1)
  for (const { row, position, blockStart } of queryRows(layout)) {
    const candidates = candidateBlocks(spec, position)
    if (topK === 0 || candidates.start === candidates.end) continue
    for (let kvHead = 0; kvHead < kvHeads; kvHead++) {
      const queries = { values: q, offset: (row * heads + kvHead * group) * headDim }
      const offset = (kvHead * layout.blocks + blockStart) * representatives * headDim
      const scores = scoreBlocks(queries, { values: reps, offset }, spec, position)
      selected.set(bestBlocks(scores, candidates, topK), (kvHead * layout.queryTokens + row) * topK)
    }
  }
  return selected
}
