import type { AttentionSpec } from '@phsa/core'
import * as tf from '@tensorflow/tfjs-core'
import { viewOf } from '../memory/elements.js'
import { type AttendArrays, type AttendChunk, chunkScores, forEachAttendChunk, logTotals, type Selection } from './attend-chunks.js'
import { addColumns, gatherColumns, gatherRows } from './gather.js'
import type { KeySequence } from './key-sequence.js'
import { addGroup, gatherGroup, transposed } from './query-group.js'

/** What the backward pass reads; functions for the same reason as in `KeyArrays`. */
export interface AttendBackwardArrays extends AttendArrays {
  /** [Tq, Hq, D] */
  out(): Float32Array
  dOut(): Float32Array
  /** [Tq, Hq] */
  lse(): Float32Array
}

/** Gradients that are added to: dq [Tq, Hq, D], dk and dv [Tk, Hkv, D]. */
export interface AttendGradientArrays {
  readonly dq: Float32Array
  readonly dk: Float32Array
  readonly dv: Float32Array
}

/**
 * Adds the gradients of q [Tq, Hq, D], k and v [Tk, Hkv, D] to the given arrays (spec 5). Probabilities are computed again by the same
 * softmax as in the forward pass; lse is needed only where a query's keys are in several chunks. dk and dv of a chunk come transposed, [D, U], because that makes the small operand
 * the one that is transposed; they are added up on the host.
 */
export function attendBackwardChunks(
  arrays: AttendBackwardArrays,
  gradients: AttendGradientArrays,
  sequences: readonly KeySequence[],
  spec: AttentionSpec,
  selection: Selection,
): void {
  const deltas = rowDots(arrays.dOut(), arrays.out(), selection.queryTokens * spec.heads, spec.headDim)
  forEachAttendChunk(sequences, spec, selection, (chunk) => {
    tf.tidy(() => backwardChunk(arrays, deltas, gradients, chunk, spec))
  })
}

/** @param deltas dOut . out of each row and head, [Tq, Hq] */
function backwardChunk(
  arrays: AttendBackwardArrays,
  deltas: Float32Array,
  { dq, dk, dv }: AttendGradientArrays,
  chunk: AttendChunk,
  spec: AttentionSpec,
): void {
  const { heads, queryRows, keys, kvHead } = chunk
  const { kvHeads, headDim } = spec
  const size = heads.group * queryRows.length
  const width = keys.rows.length
  const scale = 1 / Math.sqrt(headDim)
  const rowsOf = (values: Float32Array) => ({ values, heads: kvHeads, head: kvHead, headDim })

  const queries = gatherGroup(arrays.q(), heads, queryRows, scale)
  const dOuts = gatherGroup(arrays.dOut(), heads, queryRows)
  const delta = gatherGroup(deltas, { ...heads, headDim: 1 }, queryRows)

  const scores = chunkScores(tf.tensor2d(queries, [size, headDim]), chunk, arrays.k(), spec)
  const softmax = tf.softmax(scores)
  const probabilities = chunk.whole ? softmax : tf.mul(softmax, shares(arrays, chunk, logTotals(scores, softmax)))
  const values = tf.tensor2d(gatherColumns(rowsOf(arrays.v()), keys.rows), [headDim, width])
  const dProbabilities = tf.matMul(tf.tensor2d(dOuts, [size, headDim]), values)
  const dScores = tf.mul(probabilities, tf.sub(dProbabilities, tf.tensor2d(delta, [size, 1]))) as tf.Tensor2D

  const keyRows = tf.tensor2d(gatherRows(rowsOf(arrays.k()), keys.rows), [width, headDim])
  const dQueries = tf.matMul(dScores, keyRows)
  const dKeys = tf.matMul(tf.tensor2d(transposed(queries, size, headDim), [headDim, size]), dScores)
  const dValues = tf.matMul(tf.tensor2d(transposed(dOuts, size, headDim), [headDim, size]), probabilities)
  addGroup(dq, heads, queryRows, viewOf(dQueries), scale)
  addColumns(rowsOf(dk), keys.rows, viewOf(dKeys))
  addColumns(rowsOf(dv), keys.rows, viewOf(dValues))
}

/** What a chunk's keys hold of each row's probability, [G * C, 1]; `totals` is their log sum exp. */
function shares({ lse }: AttendBackwardArrays, { heads, queryRows }: AttendChunk, totals: Float64Array): tf.Tensor2D {
  const whole = gatherGroup(lse(), { ...heads, headDim: 1 }, queryRows)
  return tf.tensor2d(
    whole.map((total, row) => Math.exp(totals[row] - total)),
    [totals.length, 1],
  )
}

function rowDots(left: Float32Array, right: Float32Array, rows: number, columns: number): Float32Array {
  const dots = new Float32Array(rows)
  for (let row = 0; row < rows; row++) {
    let sum = 0
    for (let at = row * columns; at < (row + 1) * columns; at++) sum += left[at] * right[at]
    dots[row] = sum
  }
  return dots
}
