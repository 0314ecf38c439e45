import type { SelectInput } from '../../src/contract/attention.js'
import type { Tensor } from '../../src/contract/tensor.js'
import { RandomStream } from '../../src/random-stream.js'
import { scoreBlocks } from '../../src/reference/score-blocks.js'
import { candidateBlocks, queryRows } from '../../src/testing/packed-rows.js'
import { bestBlocks } from '../../src/testing/selection-check.js'
import type { Inner, Mutant } from './mutant.js'

/** Wrong choices of blocks. */
export const selectionMutants: readonly Mutant[] = [
  {
    name: 'selection shifted by one',
    caughtBy: ['f32/select/*'],
    mutate: ({ attention, memory }) => ({
      attention: {
        selectBlocks: (input) => {
          const selected = attention.selectBlocks(input)
          const blocks = memory.integers(selected)
          for (const [index, block] of blocks.entries()) if (block > 0) blocks[index] = block - 1
          return selected
        },
      },
    }),
  },
  {
    name: 'random selection',
    caughtBy: ['f32/select/*'],
    mutate: (inner) => {
      const random = new RandomStream(3)
      return {
        attention: {
          selectBlocks: (input) => chooseBy(inner, input, (count) => Float64Array.from({ length: count }, () => random.uniform())),
        },
      }
    },
  },
  {
    name: 'softmax replaced by logit in scoring',
    caughtBy: ['f32/select/*'],
    mutate: ({ attention }) => ({
      attention: { selectBlocks: (input) => attention.selectBlocks({ ...input, spec: { ...input.spec, score: 'logit' } }) },
    }),
  },
  {
    name: 'sum of sub-blocks instead of their maximum',
    caughtBy: ['f32/select/r*', 'f32/select/trained-packed-r2'],
    mutate: (inner) => ({
      attention: {
        selectBlocks: (input) => {
          const { representatives: r, score } = input.spec
          if (r === 1 || score === 'overlap') return inner.attention.selectBlocks(input)
          return chooseBy(inner, input, (count, sub) =>
            Float64Array.from({ length: count }, (_, block) => total(sub.subarray(block * r, (block + 1) * r))),
          )
        },
      },
    }),
  },
  {
    name: 'ties go to the higher index',
    caughtBy: ['f32/select/ties*', 'f32/select-top/*'],
    mutate: (inner) => {
      const { memory, layoutOf } = inner
      return {
        attention: {
          selectBlocks: (input) => {
            const selected = inner.attention.selectBlocks(input)
            const { spec, layout } = input
            // Only where all scores are equal: the mirror image of the lowest candidates.
            if (!allEqual(memory.reals(input.reps), spec.headDim)) return selected
            const packed = layoutOf(layout)
            const blocks = memory.integers(selected)
            for (let kvHead = 0; kvHead < spec.kvHeads; kvHead++) {
              for (const { row, position } of queryRows(packed)) {
                const candidates = candidateBlocks(position, spec).slice(-spec.topK)
                blocks.set(candidates, (kvHead * layout.queryTokens + row) * spec.topK)
              }
            }
            return selected
          },
          selectTop: (input) => {
            const scores = memory.reals(input.scores)
            // A slope too small to change any order but that of equal ones.
            const leaning = Float32Array.from(scores, (score, index) => score + (index % input.layout.maxBlocks) * 1e-4)
            memory.scope(() => inner.attention.selectTop({ ...input, scores: memory.upload(leaning, input.scores.shape) }))
          },
        },
      }
    },
  },
  {
    name: 'lambda ignored',
    caughtBy: ['f32/pool/*', 'f32/select/*'],
    mutate: (inner) => ({
      attention: {
        poolBlocks: (input) => {
          const { memory, layoutOf } = inner
          const weights = new Float32Array(input.layout.keyTokens)
          for (const { start, end } of layoutOf(input.layout).blocks(input.spec.representatives))
            weights.fill(1 / (end - start), start, end)
          return memory.scope(() =>
            inner.attention.poolBlocks({ ...input, weights: { kind: 'fused', weights: memory.upload(weights, [weights.length]) } }),
          )
        },
      },
    }),
  },
]

/** Chooses by other scores. `score` gets the number of complete blocks and the scores of their sub-blocks, normalised together. */
function chooseBy(
  { memory, layoutOf }: Inner,
  { q, reps, layout, spec }: SelectInput,
  score: (count: number, subBlocks: Float64Array) => Float64Array,
): Tensor {
  const selected = memory.alloc([spec.kvHeads, layout.queryTokens, spec.topK], 'i32')
  const blocks = memory.integers(selected).fill(-1)
  const { blockSize: m, representatives: r, kvHeads, heads, headDim } = spec
  const split = { ...spec, blockSize: m / r, representatives: 1 }
  for (let kvHead = 0; kvHead < kvHeads; kvHead++) {
    for (const { row, position, blockStart } of queryRows(layoutOf(layout))) {
      const complete = Math.floor((position + 1) / m)
      const queries = { values: memory.reals(q), offset: (row * heads + (kvHead * heads) / kvHeads) * headDim }
      const rows = { values: memory.reals(reps), offset: (kvHead * layout.blocks + blockStart) * r * headDim }
      const subBlocks = scoreBlocks(queries, rows, split, complete * m - 1)
      blocks.set(bestBlocks(score(complete, subBlocks), position, spec), (kvHead * layout.queryTokens + row) * spec.topK)
    }
  }
  return selected
}

function total(values: Float64Array): number {
  return values.reduce((sum, value) => sum + value, 0)
}

function allEqual(reps: ArrayLike<number>, headDim: number): boolean {
  for (let index = headDim; index < 3 * headDim; index++) if (reps[index] !== reps[index - headDim]) return false
  return true
}
