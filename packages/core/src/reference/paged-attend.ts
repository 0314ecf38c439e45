import type { PagedCacheOptions } from '../contract/paged-attention.js'
import type { PagedArrays } from '../host-paged-cache.js'
import { attendHead, chosenBlocks } from './attend.js'
import type { Reals } from './host-layout.js'
import { batchRows, type HostBatch, slotOf } from './paged-batch.js'
import { visibleKeys } from './visible-keys.js'

/** Attention of the new queries over their visible cached keys: out [Tq, Hq, D], lse [Tq, Hq] (spec 5, 6). */
export function pagedAttend(
  cache: PagedArrays,
  q: Reals,
  selected: Int32Array,
  batch: HostBatch,
  options: PagedCacheOptions,
): { out: Float64Array; lse: Float64Array } {
  const { spec } = options
  const { heads, kvHeads, headDim } = spec
  const group = heads / kvHeads
  const out = new Float64Array(batch.queryTokens * heads * headDim)
  const lse = new Float64Array(batch.queryTokens * heads).fill(Number.NEGATIVE_INFINITY)
  for (const { sequence, row, position } of batchRows(batch)) {
    const rules = { ...spec, denseBelow: batch.denseBelow[sequence] }
    for (let kvHead = 0; kvHead < kvHeads; kvHead++) {
      const keys = visibleKeys(rules, position, chosenBlocks(selected, batch.queryTokens, batch.maxTopK, kvHead, row))
      const slots = keys.map((key) => slotOf(batch, sequence, key, options))
      for (let head = kvHead * group; head < (kvHead + 1) * group; head++) {
        const at = row * heads + head
        const result = out.subarray(at * headDim, (at + 1) * headDim)
        lse[at] = attendHead({ q, k: cache.k, v: cache.v }, at * headDim, slots, kvHead, spec, result)
      }
    }
  }
  return { out, lse }
}
