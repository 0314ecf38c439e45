import { type AttentionSpec, isDense } from '@phsa/core'
import * as tf from '@tensorflow/tfjs-core'
import { viewOf } from '../memory/elements.js'
import { planChunk } from './chunk-plan.js'
import { gatherColumns, gatherRows } from './gather.js'
import type { KeyArrays, KeySequence } from './key-sequence.js'
import { consecutive, gatherGroup, type HeadGroup, headGroup } from './query-group.js'
import { selectedChunks } from './selected-chunks.js'
import { type SelectedBlocks, type VisibleKeys, visibleKeys } from './visible-keys.js'

/** What attention reads; functions for the same reason as in `KeyArrays`. */
export interface AttendArrays extends KeyArrays {
  /** [Tq, Hq, D] */
  q(): Float32Array
}

/** `selected` with its extents. */
export interface Selection {
  /** i32 [Hkv, Tq, topK] */
  readonly blocks: Int32Array
  readonly queryTokens: number
  readonly topK: number
}

/** Some queries of one KV head, with keys that they see. */
export interface AttendChunk {
  readonly kvHead: number
  readonly heads: HeadGroup
  /** Rows of q. */
  readonly queryRows: Int32Array
  readonly keys: VisibleKeys
  /** Whether its queries see no other keys. */
  readonly whole: boolean
}

/**
 * Visits the work of an attention call in chunks; each pair of a query and a key that it sees is in exactly one. Where nothing is
 * selected, the KV heads share a chunk's key rows and mask.
 */
export function forEachAttendChunk(
  sequences: readonly KeySequence[],
  spec: AttentionSpec,
  { blocks, queryTokens, topK }: Selection,
  visit: (chunk: AttendChunk) => void,
): void {
  const { kvHeads } = spec
  const selects = topK > 0 && !isDense(spec)
  const chosenBy = (kvHead: number): SelectedBlocks => ({
    blocks,
    topK: selects ? topK : 0,
    offset: (row) => (kvHead * queryTokens + row) * topK,
  })
  // KV heads that see the same keys, by the first of each set.
  const kvHeadSets = selects
    ? Array.from({ length: kvHeads }, (_, kvHead) => [kvHead])
    : [Array.from({ length: kvHeads }, (_, kvHead) => kvHead)]
  for (const sequence of sequences) {
    for (const sharing of kvHeadSets) {
      const chosen = chosenBy(sharing[0])
      const apartQueries: number[] = []
      for (let first = 0; first < sequence.queries; ) {
        const { end, apart } = planChunk(sequence, first, spec, chosen, spec.heads / kvHeads)
        const keys = visibleKeys(sequence, { first, end }, spec, apart ? { ...chosen, topK: 0 } : chosen)
        const queryRows = consecutive(sequence.queryStart + first, end - first)
        for (const kvHead of sharing) visit({ kvHead, heads: headGroup(spec, kvHead), queryRows, keys, whole: !apart })
        if (apart) for (let query = first; query < end; query++) apartQueries.push(query)
        first = end
      }
      if (apartQueries.length === 0) continue
      const [kvHead] = sharing
      for (const { queryRows, keyRows } of selectedChunks(sequence, apartQueries, spec, chosen)) {
        visit({ kvHead, heads: headGroup(spec, kvHead), queryRows, keys: { rows: keyRows, mask: undefined }, whole: false })
      }
    }
  }
}

/** Scaled and masked scores of a chunk, [G * C, U]; `query` is [G * C, D], scaled already. */
export function chunkScores(
  query: tf.Tensor2D,
  { heads, queryRows, keys, kvHead }: AttendChunk,
  k: Float32Array,
  spec: AttentionSpec,
): tf.Tensor2D {
  const { kvHeads, headDim } = spec
  const width = keys.rows.length
  // Transposed here, on the way: the engines' fast matrix product takes its second operand as it lies only.
  const columns = gatherColumns({ values: k, heads: kvHeads, head: kvHead, headDim }, keys.rows)
  const scores = tf.matMul<tf.Tensor2D>(query, tf.tensor2d(columns, [headDim, width]))
  return masked(scores, keys.mask, heads.group, queryRows.length, width)
}

/** scores [G * C, U] + mask [C, U]. */
export function masked(scores: tf.Tensor2D, mask: Float32Array | undefined, group: number, queries: number, width: number): tf.Tensor2D {
  if (!mask) return scores
  const shared = tf.tensor3d(mask, [1, queries, width])
  return tf.reshape(tf.add(tf.reshape(scores, [group, queries, width]), shared), [group * queries, width])
}

/** log sum exp of each row of scores, whose softmax is given: max s - log(max p), because the engines' exp is far slower than their softmax. */
export function logTotals(scores: tf.Tensor2D, probabilities: tf.Tensor): Float64Array {
  const highest = tf.max(scores, 1)
  const largest = viewOf(tf.max(probabilities, 1))
  return Float64Array.from(viewOf(highest), (value, row) => value - Math.log(largest[row]))
}

/** Attention of all chunks: out [Tq, Hq, D], lse [Tq, Hq]; rows of no sequence keep 0 and -Infinity (spec 5). */
export function attendChunks(
  arrays: AttendArrays,
  sequences: readonly KeySequence[],
  spec: AttentionSpec,
  selection: Selection,
): { out: Float32Array; lse: Float32Array } {
  const { heads: allHeads, kvHeads, headDim } = spec
  const out = new Float32Array(selection.queryTokens * allHeads * headDim)
  const lse = new Float64Array(selection.queryTokens * allHeads).fill(Number.NEGATIVE_INFINITY)
  const scale = 1 / Math.sqrt(headDim)
  forEachAttendChunk(sequences, spec, selection, (chunk) => {
    tf.tidy(() => {
      const { heads, queryRows, keys, kvHead } = chunk
      const size = heads.group * queryRows.length
      const query = tf.tensor2d(gatherGroup(arrays.q(), heads, queryRows, scale), [size, headDim])
      const scores = chunkScores(query, chunk, arrays.k(), spec)
      const probabilities = tf.softmax(scores)
      const values = gatherRows({ values: arrays.v(), heads: kvHeads, head: kvHead, headDim }, keys.rows)
      const result = tf.matMul(probabilities, tf.tensor2d(values, [keys.rows.length, headDim]))
      const totals = logTotals(scores, probabilities)
      mergeGroup({ out, lse }, heads, queryRows, { out: viewOf(result), lse: totals })
    })
  })
  return { out, lse: Float32Array.from(lse) }
}

interface Attended {
  readonly out: Float32Array
  readonly lse: Float64Array
}

/** Joins attention over other keys, [G * rows, D], to that of the listed rows so far; each counts by its sum of exponentials. */
function mergeGroup(all: Attended, { heads, firstHead, group, headDim }: HeadGroup, rows: Int32Array, part: Attended): void {
  for (let head = 0; head < group; head++) {
    for (let index = 0; index < rows.length; index++) {
      const source = head * rows.length + index
      const target = rows[index] * heads + firstHead + head
      const highest = Math.max(all.lse[target], part.lse[source])
      const kept = Math.exp(all.lse[target] - highest)
      const added = Math.exp(part.lse[source] - highest)
      const total = kept + added
      all.lse[target] = highest + Math.log(total)
      scaleAndAdd(all.out, target * headDim, kept / total, part.out, source * headDim, added / total, headDim)
    }
  }
}

function scaleAndAdd(
  all: Float32Array,
  allStart: number,
  kept: number,
  part: Float32Array,
  partStart: number,
  added: number,
  length: number,
): void {
  for (let d = 0; d < length; d++) all[allStart + d] = all[allStart + d] * kept + part[partStart + d] * added
}
