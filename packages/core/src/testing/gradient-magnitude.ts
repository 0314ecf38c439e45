import type { AttentionSpec } from '../contract/attention-spec.js'
import type { HostArray } from '../contract/tensor.js'
import type { PackedLayout } from '../packed-layout.js'
import { queryRows, visibleKeys } from './packed-rows.js'

/** Host tensors of one attention call; q, dOut [Tq, Hq, D], k, v [Tk, Hkv, D], selected [Hkv, Tq, topK]. */
export interface MagnitudeInput {
  readonly q: HostArray
  readonly k: HostArray
  readonly v: HostArray
  readonly dOut?: HostArray
  readonly selected: Int32Array
  readonly layout: PackedLayout
  readonly spec: AttentionSpec
}

/** What the bounds of lse, dq and dk are relative to (spec 11). */
export interface AttentionMagnitude {
  /** Largest |s| of each row [Tq, Hq]. */
  readonly largestScore: Float64Array
  /** ||F|| of dq and dk: p (|dp| + |delta|) times |k| or |q|, times the scale; 0 without dOut. */
  readonly dq: number
  readonly dk: number
}

/** Computes them in float64, row by row. */
export function attentionMagnitude(input: MagnitudeInput): AttentionMagnitude {
  const { k, v, dOut, q, selected, layout, spec } = input
  const { heads, kvHeads, headDim: D, topK } = spec
  const scale = 1 / Math.sqrt(D)
  const largestScore = new Float64Array(layout.totalQueries * heads)
  const dk = new Float64Array(k.length)
  let dqSquares = 0
  for (const row of queryRows(layout)) {
    for (let head = 0; head < heads; head++) {
      const kvHead = Math.floor((head * kvHeads) / heads)
      const first = (kvHead * layout.totalQueries + row.row) * topK
      const keyOffsets = visibleKeys(row, selected.subarray(first, first + topK), spec).map((key) => (key * kvHeads + kvHead) * D)
      const offset = (row.row * heads + head) * D
      const scores = keyOffsets.map((keyOffset) => scale * dot(q, offset, k, keyOffset, D))
      const largest = Math.max(...scores)
      largestScore[row.row * heads + head] = Math.max(largest, -Math.min(...scores))
      if (!dOut) continue
      const terms = scores.map((score) => Math.exp(score - largest))
      const total = terms.reduce((sum, term) => sum + term, 0)
      const dp = keyOffsets.map((keyOffset) => dot(dOut, offset, v, keyOffset, D))
      const delta = Math.abs(terms.reduce((sum, term, index) => sum + (term / total) * dp[index], 0))
      const dq = new Float64Array(D)
      for (const [index, keyOffset] of keyOffsets.entries()) {
        const weight = (scale * terms[index] * (Math.abs(dp[index]) + delta)) / total
        for (let d = 0; d < D; d++) {
          dq[d] += weight * Math.abs(k[keyOffset + d])
          dk[keyOffset + d] += weight * Math.abs(q[offset + d])
        }
      }
      for (const value of dq) dqSquares += value * value
    }
  }
  return { largestScore, dq: Math.sqrt(dqSquares), dk: Math.sqrt(dk.reduce((sum, value) => sum + value * value, 0)) }
}

function dot(a: HostArray, aOffset: number, b: HostArray, bOffset: number, length: number): number {
  let sum = 0
  for (let index = 0; index < length; index++) sum += a[aOffset + index] * b[bOffset + index]
  return sum
}
