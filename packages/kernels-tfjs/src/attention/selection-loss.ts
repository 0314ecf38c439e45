import { type AttentionSpec, type BlockRange, candidateBlocks, type Layout } from '@phsa/core'
import * as tf from '@tensorflow/tfjs-core'
import { viewOf } from '../memory/elements.js'
import { timesTransposed, transposedTimes } from '../ops/matmul.js'
import { addRows, gatherRows, type HeadRows } from './gather.js'
import { type ListedQuery, listedQueries, type PackedSequence } from './packed-sequences.js'
import { queryChunks } from './query-chunks.js'
import { addGroup, consecutive, gatherGroup, headGroup } from './query-group.js'
import { sampleGradient } from './selection-sample.js'

/** What the block distillation loss reads; functions for the same reason as in `KeyArrays`. */
export interface SelectionLossArrays {
  /** [Tq, Hq, D] */
  q(): Float32Array
  /** [Hkv, blocks * r, D] */
  reps(): Float32Array
  /** [Hkv, n, maxBlocks] */
  readonly mass: Float32Array
  /** [n], -1 for none */
  readonly rows: Int32Array
}

/** Where gradients, times the coefficient, are added. */
export interface SelectionGradients {
  readonly coefficient: number
  readonly dq: Float32Array
  readonly dReps: Float32Array
}

const QUERIES = 128

/**
 * Block distillation loss - sum(T log P) / sum(T) over candidate blocks, 0 where sum(T) is 0 (spec 10). Products with the representatives
 * run on the engine, the small softmax over them in float64 on the host.
 */
export function selectionLoss(
  arrays: SelectionLossArrays,
  sequences: readonly PackedSequence[],
  layout: Layout,
  spec: AttentionSpec,
  gradients?: SelectionGradients,
): number {
  const listed = listedQueries(arrays.rows, sequences).map(({ sequence, queries }) => ({
    sequence,
    queries: queries.filter(({ position }) => countOf(candidates(spec, position)) > 0),
  }))
  const total = totalMass(arrays, listed, layout, spec)
  if (total === 0) return 0
  const factor = (gradients?.coefficient ?? 0) / total
  let loss = 0
  for (const { sequence, queries } of listed) {
    for (const { first, end } of queryChunks(
      0,
      queries.length,
      QUERIES,
      spec.heads / spec.kvHeads,
      layout.maxBlocks * spec.representatives,
    )) {
      for (let kvHead = 0; kvHead < spec.kvHeads; kvHead++) {
        tf.tidy(() => {
          loss += chunkLoss(arrays, sequence, queries.slice(first, end), kvHead, layout, spec, factor, gradients)
        })
      }
    }
  }
  return loss / total
}

/** Every listed row counts, also below denseBelow: what is learned does not depend on it. */
function candidates(spec: AttentionSpec, position: number): BlockRange {
  return candidateBlocks({ ...spec, denseBelow: 0 }, position)
}

function countOf({ start, end }: BlockRange): number {
  return end - start
}

function totalMass(
  { mass, rows }: SelectionLossArrays,
  listed: readonly { readonly queries: readonly ListedQuery[] }[],
  layout: Layout,
  spec: AttentionSpec,
): number {
  let total = 0
  for (let kvHead = 0; kvHead < spec.kvHeads; kvHead++) {
    for (const { queries } of listed) {
      for (const { index, position } of queries) {
        const { start, end } = candidates(spec, position)
        const base = (kvHead * rows.length + index) * layout.maxBlocks
        for (let block = start; block < end; block++) total += mass[base + block]
      }
    }
  }
  return total
}

/** - sum(T log P) of a chunk of queries of one KV head; adds their gradients. */
function chunkLoss(
  arrays: SelectionLossArrays,
  sequence: PackedSequence,
  chunk: readonly ListedQuery[],
  kvHead: number,
  layout: Layout,
  spec: AttentionSpec,
  factor: number,
  gradients: SelectionGradients | undefined,
): number {
  const { headDim, representatives } = spec
  const heads = headGroup(spec, kvHead)
  const first = spec.initTokens / spec.blockSize
  const width = Math.max(...chunk.map(({ position }) => countOf(candidates(spec, position)))) * representatives
  const repRows = consecutive((kvHead * layout.blocks + sequence.blockStart + first) * representatives, width)
  const rowsOf = (values: Float32Array): HeadRows => ({ values, heads: 1, head: 0, headDim })
  const queryRows = Int32Array.from(chunk, ({ row }) => row)
  const size = heads.group * chunk.length
  const scale = 1 / Math.sqrt(headDim)

  const queries = tf.tensor2d(gatherGroup(arrays.q(), heads, queryRows, scale), [size, headDim])
  const reps = tf.tensor2d(gatherRows(rowsOf(arrays.reps()), repRows), [width, headDim])
  const scores = viewOf(timesTransposed(queries, reps))
  const dScores = new Float32Array(gradients ? size * width : 0)
  let loss = 0
  for (const [at, { index, position }] of chunk.entries()) {
    const base = (kvHead * arrays.rows.length + index) * layout.maxBlocks + first
    const teacher = arrays.mass.subarray(base, base + countOf(candidates(spec, position)))
    const headOffsets = Array.from({ length: heads.group }, (_, head) => (at * heads.group + head) * width)
    loss += sampleGradient({ scores, headOffsets, teacher, representatives }, factor, gradients && dScores)
  }
  if (!gradients) return loss

  const changes = tf.tensor2d(dScores, [size, width])
  addGroup(gradients.dq, heads, queryRows, viewOf(tf.matMul(changes, reps)), scale)
  addRows(rowsOf(gradients.dReps), repRows, viewOf(transposedTimes(changes, queries)))
  return loss
}
