import * as tf from '@tensorflow/tfjs-core'
import { addColumns, gatherColumns, gatherRows, type HeadRows } from '../attention/gather.js'
import { consecutive } from '../attention/query-group.js'
import { viewOf } from '../memory/elements.js'

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
const IDS = 1024

/** Some ids and the softmax over them alone: [C, ids] with the log of its denominator, [C]. */
interface IdChunk {
  readonly ids: Int32Array
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
  const { vocabulary, width, targets } = work
  const losses = new Float64Array(tokens.length)
  const hidden = gatherRows(rowsOf(work.hidden(), width), tokens)
  const targetLogits = new Float64Array(tokens.length)
  tf.tidy(() => {
    const x = tf.tensor2d(hidden, [tokens.length, width])
    const chunks: IdChunk[] = []
    for (let first = 0; first < vocabulary; first += IDS) {
      const ids = consecutive(first, Math.min(IDS, vocabulary - first))
      chunks.push(idChunk(work, x, ids, tokens, targetLogits, gradients !== undefined))
    }
    const logTotals = logSumOverChunks(chunks, tokens.length)
    for (let index = 0; index < tokens.length; index++) losses[index] = logTotals[index] - targetLogits[index]
    if (!gradients) return
    for (const chunk of chunks) tf.tidy(() => addChunkGradients(work, hidden, tokens, chunk, logTotals, gradients))
    for (const [index, token] of tokens.entries()) addTargetGradients(work, hidden, index, token, targets[token], gradients)
  })
  return losses
}

function idChunk(
  { head, targets, width }: CrossEntropyWork,
  x: tf.Tensor2D,
  ids: Int32Array,
  tokens: Int32Array,
  targetLogits: Float64Array,
  keep: boolean,
): IdChunk {
  const logTotals = new Float64Array(tokens.length)
  const probabilities = tf.tidy(() => {
    const logits = tf.matMul<tf.Tensor2D>(x, tf.tensor2d(gatherColumns(rowsOf(head(), width), ids), [width, ids.length]))
    const softmax = tf.softmax<tf.Tensor2D>(logits)
    const highest = tf.max(logits, 1)
    const largest = viewOf(tf.max(softmax, 1))
    const highestView = viewOf(highest)
    for (let index = 0; index < tokens.length; index++) logTotals[index] = highestView[index] - Math.log(largest[index])
    const logitsView = viewOf(logits)
    for (const [index, token] of tokens.entries()) {
      const column = targets[token] - ids[0]
      if (column >= 0 && column < ids.length) targetLogits[index] = logitsView[index * ids.length + column]
    }
    return softmax
  })
  if (!keep) probabilities.dispose()
  return { ids, probabilities, logTotals }
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

function addChunkGradients(
  { head, weights, width }: CrossEntropyWork,
  hidden: Float32Array,
  tokens: Int32Array,
  { ids, probabilities, logTotals }: IdChunk,
  allLogTotals: Float64Array,
  { dHidden, dHead }: CrossEntropyGradients,
): void {
  const factors = Float64Array.from(tokens, (token, index) => weights[token] * Math.exp(logTotals[index] - allLogTotals[index]))
  const weightRows = head().slice(ids[0] * width, (ids[0] + ids.length) * width)
  const changes = viewOf(tf.matMul(probabilities, tf.tensor2d(weightRows, [ids.length, width])))
  const scaled = new Float32Array(width * tokens.length)
  for (const [index, token] of tokens.entries()) {
    for (let column = 0; column < width; column++) {
      dHidden[token * width + column] += changes[index * width + column] * factors[index]
      scaled[column * tokens.length + index] = hidden[index * width + column] * factors[index]
    }
  }
  const dColumns = tf.matMul(tf.tensor2d(scaled, [width, tokens.length]), probabilities)
  addColumns(rowsOf(dHead, width), ids, viewOf(dColumns))
}

/** The part of the gradient at the target: - weight. */
function addTargetGradients(
  { head, weights, width }: CrossEntropyWork,
  hidden: Float32Array,
  index: number,
  token: number,
  target: number,
  { dHidden, dHead }: CrossEntropyGradients,
): void {
  const values = head()
  for (let column = 0; column < width; column++) {
    dHidden[token * width + column] -= weights[token] * values[target * width + column]
    dHead[target * width + column] -= weights[token] * hidden[index * width + column]
  }
}

function rowsOf(values: Float32Array, width: number): HeadRows {
  return { values, heads: 1, head: 0, headDim: width }
}
