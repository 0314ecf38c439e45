import { type AttentionSpec, isDense } from '@phsa/core'
import * as tf from '@tensorflow/tfjs-core'
import { viewOf } from '../memory/elements.js'
import { timesTransposed } from '../ops/matmul.js'
import { planChunk } from './chunk-plan.js'
import { gatherRows } from './gather.js'
import type { KeyArrays, KeySequence } from './key-sequence.js'
import { logTotals } from './log-totals.js'
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

/** Scaled queries of a chunk, [C * G, D]. */
export function chunkQueries(q: Float32Array, { heads, queryRows }: AttendChunk): tf.Tensor2D {
  const { group, headDim } = heads
  return tf.tensor2d(gatherGroup(q, heads, queryRows, 1 / Math.sqrt(headDim)), [group * queryRows.length, headDim])
}

/** Keys or values of a chunk, [U, D]. */
export function chunkRows(values: Float32Array, { kvHead, keys }: AttendChunk, { kvHeads, headDim }: AttentionSpec): tf.Tensor2D {
  return tf.tensor2d(gatherRows({ values, heads: kvHeads, head: kvHead, headDim }, keys.rows), [keys.rows.length, headDim])
}

/** Masked scores of a chunk, [C * G, U], of its scaled queries and its keys. */
export function chunkScores(queries: tf.Tensor2D, keyRows: tf.Tensor2D, { heads, keys }: AttendChunk): tf.Tensor2D {
  return masked(timesTransposed(queries, keyRows), keys.mask, heads.group)
}

/** scores [C * G, U] + mask [C, U]. */
export function masked(scores: tf.Tensor2D, mask: Float32Array | undefined, group: number): tf.Tensor2D {
  if (!mask) return scores
  const [rows, width] = scores.shape
  const queries = rows / group
  const shared = tf.tensor3d(mask, [queries, 1, width])
  return tf.reshape(tf.add(tf.reshape(scores, [queries, group, width]), shared), [rows, width])
}

/** Attention of all chunks: out [Tq, Hq, D], lse [Tq, Hq]; rows of no sequence keep 0 and -Infinity (spec 5). */
export function attendChunks(
  arrays: AttendArrays,
  sequences: readonly KeySequence[],
  spec: AttentionSpec,
  selection: Selection,
): { out: Float32Array; lse: Float32Array } {
  const { heads, headDim } = spec
  const out = new Float32Array(selection.queryTokens * heads * headDim)
  const lse = new Float64Array(selection.queryTokens * heads).fill(Number.NEGATIVE_INFINITY)
  forEachAttendChunk(sequences, spec, selection, (chunk) => {
    tf.tidy(() => {
      const scores = chunkScores(chunkQueries(arrays.q(), chunk), chunkRows(arrays.k(), chunk, spec), chunk)
      const probabilities = tf.softmax(scores)
      const result = tf.matMul(probabilities, chunkRows(arrays.v(), chunk, spec))
      const totals = logTotals(scores, probabilities)
      mergeGroup({ out, lse }, chunk.heads, chunk.queryRows, { out: viewOf(result), lse: totals })
    })
  })
  return { out, lse: Float32Array.from(lse) }
}

interface Attended {
  readonly out: Float32Array
  readonly lse: Float64Array
}

/** Joins attention over other keys, [rows * G, D], to that of the listed rows so far; each counts by its sum of exponentials. */
function mergeGroup(all: Attended, { heads, firstHead, group, headDim }: HeadGroup, rows: Int32Array, part: Attended): void {
  for (let source = 0; source < part.lse.length; source++) {
    const target = rows[Math.floor(source / group)] * heads + firstHead + (source % group)
    const highest = Math.max(all.lse[target], part.lse[source])
    const kept = Math.exp(all.lse[target] - highest)
    const added = Math.exp(part.lse[source] - highest)
    const total = kept + added
    all.lse[target] = highest + Math.log(total)
    const from = source * headDim
    if (kept === 0) all.out.set(part.out.subarray(from, from + headDim), target * headDim)
    else scaleAndAdd(all.out, target * headDim, kept / total, part.out, from, added / total, headDim)
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
