import type { SelectInput } from '../../src/contract/attention.js'
import type { AttentionSpec } from '../../src/contract/attention-spec.js'
import type { Tensor } from '../../src/contract/tensor.js'
import { RandomStream } from '../../src/random-stream.js'
import { representativeLogits, scoreBlocks } from '../../src/reference/score-blocks.js'
import { softmax } from '../../src/reference/softmax.js'
import { candidateBlocks, queryRows } from '../../src/testing/packed-rows.js'
import { rounded } from '../../src/testing/rounded.js'
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
          if (r === 1 || score !== 'softmax') return inner.attention.selectBlocks(input)
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
  {
    name: 'blocks past index 127 never chosen',
    caughtBy: ['f32/select/decode-long', 'f32/select/chunk-long-m8', 'f32/paged/long'],
    mutate: ({ attention, paged, memory }) => {
      const limited = (selected: Tensor, { initTokens, blockSize }: AttentionSpec): Tensor => {
        const width = selected.shape[2]
        const blocks = memory.integers(selected)
        for (let start = 0; start < blocks.length; start += width) {
          const row = blocks.subarray(start, start + width)
          const chosen = new Set(row.filter((block) => block >= 0 && block < 128))
          const count = row.filter((block) => block >= 0).length
          for (let block = initTokens / blockSize; chosen.size < count; block++) chosen.add(block)
          row.set([...chosen].sort((a, b) => a - b))
        }
        return selected
      }
      return {
        attention: { selectBlocks: (input) => limited(attention.selectBlocks(input), input.spec) },
        paged: { selectBlocks: (cache, q, batch) => limited(paged.selectBlocks(cache, q, batch), cache.options.spec) },
      }
    },
  },
  {
    name: 'overlap: block 0 takes the kernel that begins in the sequence before',
    caughtBy: ['f32/select/overlap-packed', 'f32/select/overlap-packed-capacity', 'f32/select/overlap-m64-chunk'],
    mutate: (inner) => ({
      attention: {
        selectBlocks: (input) =>
          input.spec.score === 'overlap' ? overlapAcrossBorders(inner, input) : inner.attention.selectBlocks(input),
      },
    }),
  },
  {
    name: 'a chunk scores with queries rounded to bf16',
    caughtBy: ['f32/chunks/*'],
    mutate: ({ attention, memory }) => ({
      attention: {
        selectBlocks: (input) => {
          const { q, layout, spec } = input
          if (layout.queryTokens === layout.keyTokens) return attention.selectBlocks(input)
          return memory.scope(() =>
            attention.selectBlocks({ ...input, q: memory.upload(rounded(memory.reals(q), 'bf16'), q.shape, spec.dtype) }),
          )
        },
      },
    }),
  },
  {
    name: 'distillation follows the score of selection',
    caughtBy: ['f32/selection-loss/logit*', 'f32/selection-loss/overlap-m32'],
    mutate: ({ attention, memory }) => ({
      attention: {
        selectionLoss: (input) =>
          memory.scope(() => {
            const { spec, q, reps } = input
            if (spec.score === 'softmax') return attention.selectionLoss(input)
            if (spec.score === 'logit') {
              const summed = sumOverGroups(memory.reals(q), spec)
              return attention.selectionLoss({ ...input, q: memory.upload(summed, q.shape, q.dtype) })
            }
            const kernels = memory.reals(reps).slice()
            for (let index = 0; index + spec.headDim < kernels.length; index++)
              kernels[index] = (kernels[index] + kernels[index + spec.headDim]) / 2
            return attention.selectionLoss({ ...input, reps: memory.upload(kernels, reps.shape, reps.dtype) })
          }),
      },
    }),
  },
]

/** Each head's query replaced by the sum over its group: the softmax of summed scores instead of the mean of softmaxes. */
function sumOverGroups(q: ArrayLike<number>, { heads, kvHeads, headDim: D }: AttentionSpec): Float32Array {
  const group = heads / kvHeads
  return Float32Array.from({ length: q.length }, (_, index) => {
    const first = Math.floor(index / (group * D)) * group * D + (index % D)
    let sum = 0
    for (let head = 0; head < group; head++) sum += q[first + head * D]
    return sum
  })
}

/** The baseline of spec 8 with one kernel more for every sequence but the first: half of it lies in the sequence before. */
function overlapAcrossBorders({ memory, layoutOf }: Inner, { q, reps, layout, spec }: SelectInput): Tensor {
  const { kvHeads, heads, headDim, blockSize: m, representatives: r } = spec
  const selected = memory.alloc([kvHeads, layout.queryTokens, spec.topK], 'i32')
  const blocks = memory.integers(selected).fill(-1)
  for (let kvHead = 0; kvHead < kvHeads; kvHead++) {
    for (const { row, position, blockStart } of queryRows(layoutOf(layout))) {
      const before = blockStart > 0 ? 1 : 0
      const subBlocks = Math.floor((position + 1) / (m / r)) + before
      const rows = { values: memory.reals(reps), offset: ((kvHead * layout.blocks + blockStart) * r - before) * headDim }
      const queries = { values: memory.reals(q), offset: (row * heads + (kvHead * heads) / kvHeads) * headDim }
      const sums = new Float64Array(Math.max(0, subBlocks - 1))
      for (let head = 0; head < heads / kvHeads; head++) {
        const logits = representativeLogits(queries, head, rows, headDim, 0, subBlocks)
        const shares = softmax(sums.map((_, kernel) => (logits[kernel] + logits[kernel + 1]) / 2))
        for (const [kernel, share] of shares.entries()) sums[kernel] += share
      }
      const scores = Float64Array.from({ length: Math.floor((position + 1) / m) }, (_, block) =>
        Math.max(0, ...sums.subarray(Math.max(0, block * r - 1 + before), (block + 1) * r + before)),
      )
      blocks.set(bestBlocks(scores, position, spec), (kvHead * layout.queryTokens + row) * spec.topK)
    }
  }
  return selected
}

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
