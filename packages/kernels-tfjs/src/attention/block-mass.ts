import type { AttentionSpec, Layout } from '@phsa/core'
import * as tf from '@tensorflow/tfjs-core'
import { viewOf } from '../memory/elements.js'
import { timesTransposed } from '../ops/matmul.js'
import { masked } from './attend-chunks.js'
import { gatherRows } from './gather.js'
import { listedQueries, type PackedSequence } from './packed-sequences.js'
import { queryChunks } from './query-chunks.js'
import { consecutive, gatherGroup, headGroup } from './query-group.js'

/** What block masses read; functions for the same reason as in `KeyArrays`. */
export interface BlockMassArrays {
  /** [Tq, Hq, D] */
  q(): Float32Array
  /** [Tk, Hkv, D] */
  k(): Float32Array
}

const QUERIES = 128

/** Dense attention probability on each block, summed over the heads of the group: [Hkv, n, maxBlocks] (spec 9, 10). */
export function blockMass(
  arrays: BlockMassArrays,
  rows: Int32Array,
  sequences: readonly PackedSequence[],
  layout: Layout,
  spec: AttentionSpec,
): Float32Array {
  const { kvHeads, headDim, blockSize } = spec
  const group = spec.heads / kvHeads
  const mass = new Float32Array(kvHeads * rows.length * layout.maxBlocks)
  for (const { sequence, queries } of listedQueries(rows, sequences)) {
    for (const { first, end } of queryChunks(0, queries.length, QUERIES, group, sequence.keys)) {
      const chunk = queries.slice(first, end)
      const queryRows = Int32Array.from(chunk, ({ row }) => row)
      const width = Math.max(...chunk.map(({ position }) => position)) + 1
      const keyRows = consecutive(sequence.keyStart, width)
      const mask = new Float32Array(chunk.length * width).fill(Number.NEGATIVE_INFINITY)
      for (const [at, { position }] of chunk.entries()) mask.fill(0, at * width, at * width + position + 1)
      for (let kvHead = 0; kvHead < kvHeads; kvHead++) {
        tf.tidy(() => {
          const queries = gatherGroup(arrays.q(), headGroup(spec, kvHead), queryRows, 1 / Math.sqrt(headDim))
          const keys = gatherRows({ values: arrays.k(), heads: kvHeads, head: kvHead, headDim }, keyRows)
          const scores = timesTransposed(tf.tensor2d(queries, [group * chunk.length, headDim]), tf.tensor2d(keys, [width, headDim]))
          const probabilities = viewOf(tf.softmax(masked(scores, mask, group)))
          for (const [at, { index, position }] of chunk.entries()) {
            const target = (kvHead * rows.length + index) * layout.maxBlocks
            for (let head = 0; head < group; head++) {
              const base = (at * group + head) * width
              addBlockSums(probabilities.subarray(base, base + position + 1), blockSize, mass, target)
            }
          }
        })
      }
    }
  }
  return mass
}

function addBlockSums(probabilities: Float32Array, blockSize: number, mass: Float32Array, target: number): void {
  for (let start = 0, block = 0; start < probabilities.length; start += blockSize, block++) {
    const end = Math.min(start + blockSize, probabilities.length)
    let sum = 0
    for (let key = start; key < end; key++) sum += probabilities[key]
    mass[target + block] += sum
  }
}
