import { bestBlocks } from '../best-blocks.js'
import { candidateBlocks } from '../candidate-blocks.js'
import type { PagedCacheOptions } from '../contract/paged-attention.js'
import type { PagedArrays } from '../host-paged-cache.js'
import type { Reals } from './host-layout.js'
import { batchRows, type HostBatch, slotOf } from './paged-batch.js'
import { scoreBlocks } from './score-blocks.js'

/** The blocks of each new query and KV head, [Hkv, Tq, maxTopK]; topK and denseBelow are those of its sequence (spec 4, 6). */
export function pagedSelectBlocks(cache: PagedArrays, q: Reals, batch: HostBatch, options: PagedCacheOptions): Int32Array {
  const { spec } = options
  const { heads, kvHeads, headDim } = spec
  const group = heads / kvHeads
  const selected = new Int32Array(kvHeads * batch.queryTokens * batch.maxTopK).fill(-1)
  for (const { sequence, row, position } of batchRows(batch)) {
    const topK = Math.min(batch.topK[sequence], batch.maxTopK)
    const candidates = candidateBlocks({ ...spec, denseBelow: batch.denseBelow[sequence] }, position)
    if (topK <= 0 || candidates.start === candidates.end) continue
    for (let kvHead = 0; kvHead < kvHeads; kvHead++) {
      const reps = gatherRepresentatives(cache, batch, options, sequence, position, kvHead)
      const queries = { values: q, offset: (row * heads + kvHead * group) * headDim }
      const scores = scoreBlocks(queries, { values: reps, offset: 0 }, spec, position)
      selected.set(bestBlocks(scores, candidates, topK), (kvHead * batch.queryTokens + row) * batch.maxTopK)
    }
  }
  return selected
}

/** The final representatives that a position may read, of one KV head, in order: [complete sub-blocks, D]. */
function gatherRepresentatives(
  cache: PagedArrays,
  batch: HostBatch,
  options: PagedCacheOptions,
  sequence: number,
  position: number,
  kvHead: number,
): Float64Array {
  const { blockSize, representatives, kvHeads, headDim } = options.spec
  const subBlockSize = blockSize / representatives
  const complete = Math.floor((position + 1) / subBlockSize)
  const reps = new Float64Array(complete * headDim)
  for (let index = 0; index < complete; index++) {
    const subBlock = slotOf(batch, sequence, index * subBlockSize, options) / subBlockSize
    const source = (subBlock * kvHeads + kvHead) * headDim
    reps.set(cache.reps.subarray(source, source + headDim), index * headDim)
  }
  return reps
}
