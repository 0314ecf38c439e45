import * as tf from '@tensorflow/tfjs-core'
import { gatherRows } from '../attention/gather.js'
import { logTotals } from '../attention/log-totals.js'
import { viewOf } from '../memory/elements.js'
import { timesTransposed, transposedTimes } from './matmul.js'

/** What the cross-entropy of some tokens reads. Functions, because a view of the wasm heap is valid until the next TensorFlow.js call only. */
export interface CrossEntropyWork {
  /** [T, E] */
  hidden(): Float32Array
  /** [V, E] */
  head(): Float32Array
  /** [T] */
  readonly targets: Int32Array
  readonly weights: Float32Array
  /** V */
  readonly vocabulary: number
  /** E */
  readonly width: number
}

/** Added to: dHidden [T, E], dHead [V, E]. */
export interface CrossEntropyGradients {
  readonly dHidden: Float32Array
  readonly dHead: Float32Array
}

/** Ids that one matrix product takes: small enough that its operands stay in the second-level cache. */
const IDS = 1040

/** The ids from `first` on, and the softmax over them alone: [C, ids] with the log of its denominator, [C]. */
interface IdChunk {
  readonly first: number
  readonly probabilities: tf.Tensor2D
  readonly logTotals: Float64Array
}

/**
 * Losses of the listed tokens, [C] (spec of `ModelOps.crossEntropy`), and their gradients.
 *
 * Each chunk of ids has a softmax of its own; with a = exp(its log total - the whole one), a p is the whole softmax. The factor a belongs
 * to a row, so it moves out of the products with p, and logits are passed over by the matrix products and the engine's softmax only.
 */
export function crossEntropyChunk(work: CrossEntropyWork, tokens: Int32Array, gradients: CrossEntropyGradients | undefined): Float64Array {
  const { vocabulary, width } = work
  const hidden = hiddenRows(work, tokens)
  const losses = new Float64Array(tokens.length)
  tf.tidy(() => {
    const x = tf.tensor2d(hidden, [tokens.length, width])
    const chunks: IdChunk[] = []
    for (let first = 0; first < vocabulary; first += IDS) chunks.push(idChunk(work, x, first, gradients !== undefined))
    const logTotals = logSumOverChunks(chunks, tokens.length)
    for (const [index, token] of tokens.entries()) losses[index] = logTotals[index] - targetLogit(work, hidden, index, token)
    if (!gradients) return
    for (const chunk of chunks) tf.tidy(() => addChunkGradients(work, hidden, tokens, chunk, logTotals, gradients))
    for (const [index, token] of tokens.entries()) addTargetGradients(work, hidden, index, token, gradients)
  })
  return losses
}

/** [C, E] */
function hiddenRows({ hidden, width }: CrossEntropyWork, tokens: Int32Array): Float32Array {
  return gatherRows({ values: hidden(), heads: 1, head: 0, headDim: width }, tokens)
}

/** Rows of a chunk of ids, [ids, E]. Copied: a view of the wasm heap dies when the engine makes room for the tensor. */
function headRows({ head, vocabulary, width }: CrossEntropyWork, first: number): tf.Tensor2D {
  const end = Math.min(first + IDS, vocabulary)
  return tf.tensor2d(head().slice(first * width, end * width), [end - first, width])
}

function idChunk(work: CrossEntropyWork, x: tf.Tensor2D, first: number, keep: boolean): IdChunk {
  const logits = tf.tidy(() => timesTransposed(x, headRows(work, first)))
  const probabilities = tf.softmax<tf.Tensor2D>(logits)
  const chunk = { first, probabilities, logTotals: logTotals(logits, probabilities) }
  logits.dispose()
  if (!keep) probabilities.dispose()
  return chunk
}

function logSumOverChunks(chunks: readonly IdChunk[], rows: number): Float64Array {
  const totals = new Float64Array(rows)
  for (let row = 0; row < rows; row++) {
    let highest = Number.NEGATIVE_INFINITY
    for (const { logTotals } of chunks) highest = Math.max(highest, logTotals[row])
    let sum = 0
    for (const { logTotals } of chunks) sum += Math.exp(logTotals[row] - highest)
    totals[row] = highest + Math.log(sum)
  }
  return totals
}

function targetLogit({ head, targets, width }: CrossEntropyWork, hidden: Float32Array, index: number, token: number): number {
  const values = head()
  const target = targets[token] * width
  let logit = 0
  for (let column = 0; column < width; column++) logit += hidden[index * width + column] * values[target + column]
  return logit
}

function addChunkGradients(
  work: CrossEntropyWork,
  hidden: Float32Array,
  tokens: Int32Array,
  { first, probabilities, logTotals }: IdChunk,
  allLogTotals: Float64Array,
  { dHidden, dHead }: CrossEntropyGradients,
): void {
  const { weights, width } = work
  const changes = viewOf(tf.matMul(probabilities, headRows(work, first)))
  const weighted = new Float32Array(hidden.length)
  for (let index = 0; index < tokens.length; index++) {
    const factor = weights[tokens[index]] * Math.exp(logTotals[index] - allLogTotals[index])
    addTimes(dHidden, tokens[index] * width, changes, index * width, factor, width)
    addTimes(weighted, index * width, hidden, index * width, factor, width)
  }
  const dRows = viewOf(transposedTimes(probabilities, tf.tensor2d(weighted, [tokens.length, width])))
  addTimes(dHead, first * width, dRows, 0, 1, dRows.length)
}

/** Adds elements of `source`, times a factor, to those of `target`. */
function addTimes(
  target: Float32Array,
  targetStart: number,
  source: Float32Array,
  sourceStart: number,
  factor: number,
  length: number,
): void {
  for (let at = 0; at < length; at++) target[targetStart + at] += source[sourceStart + at] * factor
}

/** The part of the gradient at the target: - weight. */
function addTargetGradients(
  { head, targets, weights, width }: CrossEntropyWork,
  hidden: Float32Array,
  index: number,
  token: number,
  { dHidden, dHead }: CrossEntropyGradients,
): void {
  const target = targets[token] * width
  addTimes(dHidden, token * width, head(), target, -weights[token], width)
  addTimes(dHead, target, hidden, index * width, -weights[token], width)
}
