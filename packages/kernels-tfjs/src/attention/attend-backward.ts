import type { AttentionSpec } from '@phsa/core'
import * as tf from '@tensorflow/tfjs-core'
import { viewOf } from '../memory/elements.js'
import { timesTransposed, transposedTimes } from '../ops/matmul.js'
import {
  type AttendArrays,
  type AttendChunk,
  chunkQueries,
  chunkRows,
  chunkScores,
  forEachAttendChunk,
  type Selection,
} from './attend-chunks.js'
import { addRows } from './gather.js'
import type { KeySequence } from './key-sequence.js'
import { logTotals } from './log-totals.js'
import { addGroup, gatherGroup, gatherScalars } from './query-group.js'

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
 * softmax as in the forward pass; lse is needed only where a query's keys are in several chunks.
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
  const rowsOf = (values: Float32Array) => ({ values, heads: kvHeads, head: kvHead, headDim })

  const queries = chunkQueries(arrays.q(), chunk)
  const keyRows = chunkRows(arrays.k(), chunk, spec)
  const scores = chunkScores(queries, keyRows, chunk)
  const softmax = tf.softmax(scores)
  const probabilities = chunk.whole ? softmax : tf.mul<tf.Tensor2D>(softmax, shares(arrays, chunk, logTotals(scores, softmax)))
  const dOuts = tf.tensor2d(gatherGroup(arrays.dOut(), heads, queryRows), [size, headDim])
  const dProbabilities = timesTransposed(dOuts, chunkRows(arrays.v(), chunk, spec))
  const delta = tf.tensor2d(gatherScalars(deltas, heads, queryRows), [size, 1])
  const dScores = tf.mul<tf.Tensor2D>(probabilities, tf.sub(dProbabilities, delta))

  addGroup(dq, heads, queryRows, viewOf(tf.matMul(dScores, keyRows)), 1 / Math.sqrt(headDim))
  addRows(rowsOf(dk), keys.rows, viewOf(transposedTimes(dScores, queries)))
  addRows(rowsOf(dv), keys.rows, viewOf(transposedTimes(probabilities, dOuts)))
}

/** What a chunk's keys hold of each row's probability, [C * G, 1]; `totals` is their log sum exp. */
function shares({ lse }: AttendBackwardArrays, { heads, queryRows }: AttendChunk, totals: Float64Array): tf.Tensor2D {
  const whole = gatherScalars(lse(), heads, queryRows)
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
