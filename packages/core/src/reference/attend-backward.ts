import type { AttentionSpec } from '../contract/attention-spec.js'
import { type AttendArrays, chosenBlocks, visibleScores } from './attend.js'
import { dot } from './dot.js'
import { type HostLayout, queryRows, type Reals } from './host-layout.js'
import { visibleKeys } from './visible-keys.js'

/** Host form of `AttendBackwardInput`. */
export interface AttendBackwardArrays extends AttendArrays {
  /** [Tq, Hq, D] */
  readonly out: Reals
  /** [Tq, Hq] */
  readonly lse: Reals
  /** [Tq, Hq, D] */
  readonly dOut: Reals
}

/** Gradients of `attend` with the visible set held fixed: dq [Tq, Hq, D], dk and dv [Tk, Hkv, D] (spec 5). */
export function attendBackward(
  arrays: AttendBackwardArrays,
  layout: HostLayout,
  spec: AttentionSpec,
): { dq: Float64Array; dk: Float64Array; dv: Float64Array } {
  const { q, k, v, out, lse, dOut, selected } = arrays
  const { heads, kvHeads, headDim } = spec
  const group = heads / kvHeads
  const scale = 1 / Math.sqrt(headDim)
  const dq = new Float64Array(layout.queryTokens * heads * headDim)
  const dk = new Float64Array(layout.keyTokens * kvHeads * headDim)
  const dv = new Float64Array(layout.keyTokens * kvHeads * headDim)
  for (const { row, position, keyStart } of queryRows(layout)) {
    for (let head = 0; head < heads; head++) {
      const kvHead = Math.floor(head / group)
      const keyRows = visibleKeys(spec, position, chosenBlocks(selected, layout.queryTokens, spec.topK, kvHead, row)).map(
        (key) => keyStart + key,
      )
      const query = (row * heads + head) * headDim
      const scores = visibleScores(q, query, k, keyRows, kvHead, spec)
      // sum over keys of p * dp, in closed form
      const delta = dot(dOut, query, out, query, headDim)
      for (let index = 0; index < keyRows.length; index++) {
        const key = (keyRows[index] * kvHeads + kvHead) * headDim
        const probability = Math.exp(scores[index] - lse[row * heads + head])
        const dProbability = dot(dOut, query, v, key, headDim)
        const dScore = probability * (dProbability - delta) * scale
        for (let d = 0; d < headDim; d++) {
          dq[query + d] += dScore * k[key + d]
          dk[key + d] += dScore * q[query + d]
          dv[key + d] += probability * dOut[query + d]
        }
      }
    }
  }
  return { dq, dk, dv }
}
