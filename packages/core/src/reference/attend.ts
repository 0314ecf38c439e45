import type { AttentionSpec } from '../contract/attention-spec.js'
import { dot } from './dot.js'
import { type HostLayout, queryRows, type Reals } from './host-layout.js'
import { logSumExp } from './softmax.js'
import { visibleKeys } from './visible-keys.js'

/** Host form of `AttendInput`. */
export interface AttendArrays {
  /** [Tq, Hq, D] */
  readonly q: Reals
  /** [Tk, Hkv, D] */
  readonly k: Reals
  readonly v: Reals
  /** [Hkv, Tq, topK] */
  readonly selected: Int32Array
}

/** Softmax attention over forced and selected blocks: out [Tq, Hq, D], lse [Tq, Hq] (spec 5). */
export function attend(arrays: AttendArrays, layout: HostLayout, spec: AttentionSpec): { out: Float64Array; lse: Float64Array } {
  const { heads, kvHeads, headDim } = spec
  const group = heads / kvHeads
  const out = new Float64Array(layout.queryTokens * heads * headDim)
  const lse = new Float64Array(layout.queryTokens * heads).fill(Number.NEGATIVE_INFINITY)
  for (const { row, position, keyStart } of queryRows(layout)) {
    for (let kvHead = 0; kvHead < kvHeads; kvHead++) {
      const keyRows = visibleKeys(spec, position, chosenBlocks(arrays.selected, layout.queryTokens, spec.topK, kvHead, row)).map(
        (key) => keyStart + key,
      )
      for (let head = kvHead * group; head < (kvHead + 1) * group; head++) {
        const at = row * heads + head
        lse[at] = attendHead(arrays, at * headDim, keyRows, kvHead, spec, out.subarray(at * headDim, (at + 1) * headDim))
      }
    }
  }
  return { out, lse }
}

/** One query head over the given rows of k and v; adds to `out` [D] and returns its lse. Other keys are never touched, whatever they hold. */
export function attendHead(
  { q, k, v }: Pick<AttendArrays, 'q' | 'k' | 'v'>,
  queryOffset: number,
  keyRows: readonly number[],
  kvHead: number,
  spec: AttentionSpec,
  out: Float64Array,
): number {
  const { headDim } = spec
  const scores = visibleScores(q, queryOffset, k, keyRows, kvHead, spec)
  const lse = logSumExp(scores)
  for (let index = 0; index < keyRows.length; index++) {
    const probability = Math.exp(scores[index] - lse)
    const value = (keyRows[index] * spec.kvHeads + kvHead) * headDim
    for (let d = 0; d < headDim; d++) out[d] += probability * v[value + d]
  }
  return lse
}

/** q . k / sqrt(D) of one query head with the given rows of k. */
export function visibleScores(
  q: Reals,
  queryOffset: number,
  k: Reals,
  keyRows: readonly number[],
  kvHead: number,
  { kvHeads, headDim }: AttentionSpec,
): Float64Array {
  const scale = 1 / Math.sqrt(headDim)
  const scores = new Float64Array(keyRows.length)
  for (let index = 0; index < keyRows.length; index++) {
    scores[index] = dot(q, queryOffset, k, (keyRows[index] * kvHeads + kvHead) * headDim, headDim) * scale
  }
  return scores
}

/** The blocks selected for one query and KV head, [topK], a view. */
export function chosenBlocks(selected: Int32Array, queryTokens: number, topK: number, kvHead: number, row: number): Int32Array {
  const start = (kvHead * queryTokens + row) * topK
  return selected.subarray(start, start + topK)
}
