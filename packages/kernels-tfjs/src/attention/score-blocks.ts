import { type AttentionSpec, type BlockRange, candidateBlocks, isDense } from '@phsa/core'
import * as tf from '@tensorflow/tfjs-core'
import { viewOf } from '../memory/elements.js'
import { masked } from './attend-chunks.js'
import { type ColumnProbabilities, columnProbabilities, steadyProduct } from './column-probabilities.js'
import { gatherColumns, gatherRows } from './gather.js'
import { firstPosition, type KeySequence } from './key-sequence.js'
import { queryChunks } from './query-chunks.js'
import { consecutive, gatherGroup, headGroup, transposed } from './query-group.js'
import { TopScores } from './top-scores.js'

/** Where representatives lie: rows of one head in an array [rows, heads, D]. */
export interface RepresentativeRows {
  readonly heads: number
  readonly head: number
  readonly rows: Int32Array
}

/** A sequence that selects blocks. */
export interface SelectingSequence extends KeySequence {
  /** Blocks that a query of it may select. */
  readonly topK: number
  /** The first `count` sub-blocks of the sequence for one KV head. */
  representatives(kvHead: number, count: number): RepresentativeRows
}

/** What selection reads; functions for the same reason as in `KeyArrays`. */
export interface SelectArrays {
  /** [Tq, Hq, D] */
  q(): Float32Array
  reps(): Float32Array
}

/** What a column of scores stands for: sub-blocks, or for `overlap` the pairs of neighbours (spec 4, 8). */
interface Columns {
  /** Columns that a query at this position may read. */
  visible(position: number): number
  /** Columns of a block, to be cut at the visible ones. */
  ofBlock(block: number): BlockRange
}

const QUERIES = 128

/**
 * The engines' softmax works a row in several strands, and its ragged end apart from them. So much padding keeps every real
 * column away from that end: a score then has the same bits whatever else is in the batch (spec 6).
 */
const PADDING = 64

/**
 * Fills `selected`, which is -1 so far (spec 4).
 * @param selected i32 [Hkv, Tq, topK], where topK is the most that any sequence may select
 */
export function selectChunks(
  arrays: SelectArrays,
  sequences: readonly SelectingSequence[],
  spec: AttentionSpec,
  selected: Int32Array,
  queryTokens: number,
  topK: number,
): void {
  const top = new TopScores(topK)
  const columns = columnsOf(spec)
  for (const sequence of sequences) {
    if (sequence.topK === 0 || isDense(spec)) continue
    const rules = { ...spec, denseBelow: sequence.denseBelow }
    // Earlier queries have no candidates.
    const start = Math.max(0, Math.max(sequence.denseBelow, spec.initTokens + spec.localTokens) - firstPosition(sequence))
    const most = columns.visible(sequence.keys - 1) + 2 * PADDING
    for (const { first, end } of queryChunks(start, sequence.queries, QUERIES, spec.heads / spec.kvHeads, most)) {
      const rows = consecutive(sequence.queryStart + first, end - first)
      const positions = consecutive(firstPosition(sequence) + first, end - first)
      for (let kvHead = 0; kvHead < spec.kvHeads; kvHead++) {
        tf.tidy(() => {
          const { scores, width } = columnScores(arrays, sequence, spec, columns, kvHead, rows, positions)
          const sums = new Float64Array(width)
          const blockScores = new Float64Array(Math.ceil(sequence.keys / spec.blockSize))
          for (let index = 0; index < rows.length; index++) {
            const visible = columns.visible(positions[index])
            sumOverGroup(scores, index, { width, visible, group: spec.heads / spec.kvHeads }, sums)
            const candidates = candidateBlocks(rules, positions[index])
            maximaOfBlocks(sums, columns, visible, candidates, blockScores)
            const offset = (kvHead * queryTokens + rows[index]) * topK
            top.pick(blockScores, 0, candidates, sequence.topK, selected, offset)
          }
        })
      }
    }
  }
}

function columnsOf({ blockSize, representatives, score }: AttentionSpec): Columns {
  if (score === 'overlap') {
    const size = blockSize / representatives
    return {
      visible: (position) => Math.max(0, Math.floor((position + 1) / size) - 1),
      ofBlock: (block) => ({ start: Math.max(0, block * representatives - 1), end: (block + 1) * representatives }),
    }
  }
  return {
    visible: (position) => Math.floor((position + 1) / blockSize) * representatives,
    ofBlock: (block) => ({ start: block * representatives, end: (block + 1) * representatives }),
  }
}

/** Scores of each column, [C * G, width], softmaxed where the spec says so. */
function columnScores(
  arrays: SelectArrays,
  sequence: SelectingSequence,
  spec: AttentionSpec,
  columns: Columns,
  kvHead: number,
  rows: Int32Array,
  positions: Int32Array,
): { scores: ColumnProbabilities; width: number } {
  const { headDim, score } = spec
  const count = columns.visible(positions[positions.length - 1])
  const width = Math.ceil(count / PADDING) * PADDING + PADDING
  const heads = headGroup(spec, kvHead)
  const size = heads.group * rows.length
  const query = tf.tensor2d(gatherGroup(arrays.q(), heads, rows, 1 / Math.sqrt(headDim)), [size, headDim])
  const reps = representativeColumns(arrays.reps(), sequence, spec, kvHead, count, width)
  const scores = steadyProduct(query, tf.tensor2d(reps, [headDim, width]))
  if (score === 'logit') return { scores: { values: viewOf(scores), undivided: false }, width }
  const mask = new Float32Array(rows.length * width).fill(Number.NEGATIVE_INFINITY)
  for (let index = 0; index < rows.length; index++) mask.fill(0, index * width, index * width + columns.visible(positions[index]))
  return { scores: columnProbabilities(masked(scores, mask, heads.group)), width }
}

/** [D, width]: the representatives, or the means of neighbours, which are the means of 32 keys (spec 8). */
function representativeColumns(
  values: Float32Array,
  sequence: SelectingSequence,
  spec: AttentionSpec,
  kvHead: number,
  count: number,
  width: number,
): Float32Array {
  const { headDim } = spec
  if (spec.score !== 'overlap') {
    const { heads, head, rows } = sequence.representatives(kvHead, count)
    return gatherColumns({ values, heads, head, headDim }, rows, width)
  }
  const { heads, head, rows } = sequence.representatives(kvHead, count + 1)
  const halves = gatherRows({ values, heads, head, headDim }, rows)
  const means = new Float32Array(width * headDim)
  for (let at = 0; at < count * headDim; at++) means[at] = (halves[at] + halves[at + headDim]) / 2
  return transposed(means, width, headDim)
}

/** Extents of scores [rows, group, width], of which a row's first `visible` columns count. */
interface ScoreExtents {
  readonly group: number
  readonly width: number
  readonly visible: number
}

function sumOverGroup(
  { values, undivided }: ColumnProbabilities,
  index: number,
  { group, width, visible }: ScoreExtents,
  sums: Float64Array,
): void {
  sums.fill(0, 0, visible)
  for (let head = 0; head < group; head++) {
    const base = (index * group + head) * width
    const factor = undivided ? 1 / sumOf(values, base, base + visible) : 1
    for (let column = 0; column < visible; column++) sums[column] += values[base + column] * factor
  }
}

function sumOf(values: Float32Array, start: number, end: number): number {
  let sum = 0
  for (let at = start; at < end; at++) sum += values[at]
  return sum
}

function maximaOfBlocks(sums: Float64Array, columns: Columns, visible: number, candidates: BlockRange, maxima: Float64Array): void {
  for (let block = candidates.start; block < candidates.end; block++) {
    const { start, end } = columns.ofBlock(block)
    const last = Math.min(end, visible)
    let largest = start < last ? sums[start] : 0
    for (let column = start + 1; column < last; column++) largest = Math.max(largest, sums[column])
    maxima[block] = largest
  }
}
