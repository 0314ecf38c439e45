import type { AttendInput, AttendOutput } from '../../src/contract/attention.js'
import { PackedLayout } from '../../src/packed-layout.js'
import { queryRows } from '../../src/testing/packed-rows.js'
import { uploadLayout } from '../../src/upload-layout.js'
import type { Inner, Mutant } from './mutant.js'

/** Wrong attention and gradients. */
export const attentionMutants: readonly Mutant[] = [
  {
    name: 'last selected block dropped',
    caughtBy: ['f32/attend/*', 'f32/nan-poison/*'],
    mutate: (inner) => ({
      attention: {
        attend: (input) => {
          const { memory, attention } = inner
          const { topK } = input.spec
          const selected = memory.integers(input.selected).slice()
          for (let start = 0; start < selected.length; start += topK) {
            const used = selected.subarray(start, start + topK).filter((block) => block >= 0).length
            if (used > 0) selected[start + used - 1] = -1
          }
          return memory.scope(() => attention.attend({ ...input, selected: memory.upload(selected, input.selected.shape) }))
        },
      },
    }),
  },
  {
    name: 'lse off by 0.05',
    caughtBy: ['f32/attend/*', 'f32/nan-poison/*'],
    mutate: ({ attention, memory }) => ({
      attention: {
        attend: (input) => {
          const output = attention.attend(input)
          const lse = memory.reals(output.lse)
          for (const [index, value] of lse.entries()) lse[index] = value + 0.05
          return output
        },
      },
    }),
  },
  {
    name: 'exp in f32 without the maximum subtracted',
    caughtBy: ['f32/attend/steep*', 'f32/attend-backward/steep*', 'f32/paged/splits-steep'],
    mutate: ({ attention, memory, paged }) => {
      // What a sum of exp(s) holds in f32: infinite, or zero, where the largest score is far from 0.
      const lost = (lse: number) => !Number.isFinite(1 / Math.fround(Math.exp(lse))) || !Number.isFinite(Math.fround(Math.exp(lse)))
      const spoil = (values: { fill(value: number, start: number, end: number): unknown; length: number }, lse: ArrayLike<number>) => {
        const width = values.length / Math.max(lse.length, 1)
        for (let row = 0; row < lse.length; row++)
          if (Number.isFinite(lse[row]) && lost(lse[row])) values.fill(Number.NaN, row * width, (row + 1) * width)
      }
      const spoiled = (output: AttendOutput): AttendOutput => {
        const lse = memory.reals(output.lse)
        spoil(memory.reals(output.out), lse)
        for (const [row, value] of lse.entries()) if (lost(value)) lse[row] = Math.sign(value) * Number.POSITIVE_INFINITY
        return output
      }
      return {
        attention: {
          attend: (input) => spoiled(attention.attend(input)),
          attendBackward: (input) => {
            const gradients = attention.attendBackward(input)
            spoil(memory.reals(gradients.dq), memory.reals(input.lse))
            return gradients
          },
        },
        paged: { attend: (cache, q, selected, batch) => spoiled(paged.attend(cache, q, selected, batch)) },
      }
    },
  },
  {
    name: 'one key lost',
    caughtBy: ['f32/attend/*', 'f32/nan-poison/decode-long'],
    mutate: (inner) => ({ attention: { attend: (input) => withoutFirstKey(inner, input) } }),
  },
  {
    name: 'forced first blocks missing',
    caughtBy: ['f32/attend/*', 'f32/nan-poison/*'],
    mutate: ({ attention }) => ({
      attention: { attend: (input) => attention.attend({ ...input, spec: { ...input.spec, initTokens: 0 } }) },
    }),
  },
  {
    name: 'local window a block short',
    caughtBy: ['f32/attend/*', 'f32/nan-poison/*'],
    mutate: ({ attention }) => ({
      attention: {
        attend: (input) => {
          const { localTokens, blockSize } = input.spec
          return attention.attend({ ...input, spec: { ...input.spec, localTokens: Math.max(blockSize, localTokens - blockSize) } })
        },
      },
    }),
  },
  {
    name: 'sequence boundary crossed',
    caughtBy: [
      'f32/attend/*packed*',
      'f32/attend/capacity*',
      'f32/*/chunk-mixed',
      'f32/*/decode-long',
      'f32/attend/chunk-long-m8',
      'f32/attend/overlap-m64-chunk',
      'f32/chunks/*packed',
    ],
    mutate: ({ attention, memory, layoutOf }) => ({
      attention: {
        attend: (input) => {
          const packed = layoutOf(input.layout)
          const merged = new PackedLayout([packed.totalTokens], packed.blockSize, [packed.totalQueries])
          // Blocks that were chosen in a sequence do not exist in the merged one: only the boundary is lost.
          return memory.scope(() => {
            const { queryTokens, keyTokens } = input.layout
            return attention.attend({ ...input, layout: uploadLayout(memory, merged, { queryTokens, keyTokens }) })
          })
        },
      },
    }),
  },
  {
    name: 'denseBelow ignored',
    caughtBy: ['f32/attend/dense-below*'],
    mutate: ({ attention }) => ({
      attention: { attend: (input) => attention.attend({ ...input, spec: { ...input.spec, denseBelow: 0 } }) },
    }),
  },
  {
    name: 'padded rows not zeroed',
    caughtBy: ['f32/attend/*capacity*'],
    mutate: ({ attention, memory, layoutOf }) => ({
      attention: {
        attend: (input) => {
          const output = attention.attend(input)
          memory.reals(output.out).fill(1, layoutOf(input.layout).totalQueries * input.spec.heads * input.spec.headDim)
          return output
        },
      },
    }),
  },
  {
    name: 'last rows of dk zeroed',
    caughtBy: ['f32/attend-backward/*', 'f32/nan-poison/*'],
    mutate: ({ attention, memory, layoutOf }) => ({
      attention: {
        attendBackward: (input) => {
          const gradients = attention.attendBackward(input)
          const width = input.spec.kvHeads * input.spec.headDim
          const end = layoutOf(input.layout).totalTokens * width
          memory.reals(gradients.dk).fill(0, Math.max(0, end - 3 * width), end)
          return gradients
        },
      },
    }),
  },
  {
    name: 'dv of one head halved',
    caughtBy: ['f32/attend-backward/*', 'f32/nan-poison/*'],
    mutate: ({ attention, memory }) => ({
      attention: {
        attendBackward: (input) => {
          const gradients = attention.attendBackward(input)
          const { kvHeads, headDim } = input.spec
          const dv = memory.reals(gradients.dv)
          for (const [index, value] of dv.entries()) if (Math.floor(index / headDim) % kvHeads === kvHeads - 1) dv[index] = value / 2
          return gradients
        },
      },
    }),
  },
  {
    name: 'hidden blocks reach dk by a factor of zero',
    caughtBy: ['f32/nan-poison/*', 'f32/attend-backward/capacity*'],
    mutate: ({ attention, memory }) => ({
      attention: {
        attendBackward: (input) => {
          const gradients = attention.attendBackward(input)
          const [dk, k] = [memory.reals(gradients.dk), memory.reals(input.k)]
          for (const [index, value] of k.entries()) dk[index] += 0 * value
          return gradients
        },
      },
    }),
  },
  {
    name: 'q scaled in place',
    caughtBy: ['f32/attend/*', 'f32/nan-poison/*'],
    mutate: ({ attention, memory }) => ({
      attention: {
        attend: (input) => {
          const output = attention.attend(input)
          const q = memory.reals(input.q)
          for (const [index, value] of q.entries()) q[index] = value * 0.5
          return output
        },
      },
    }),
  },
  {
    name: 'a temporary leaks',
    caughtBy: ['f32/block-mass/*'],
    mutate: ({ attention, memory, paged }) => ({
      attention: {
        blockMass: (input) =>
          memory.scope(() => {
            const { spec } = input
            // A cache belongs to no scope, so that nobody frees it.
            paged.createCache({ spec, pages: 1, pageTokens: spec.blockSize, lambda: memory.alloc([spec.kvHeads], 'f32') })
            return attention.blockMass(input)
          }),
      },
    }),
  },
]

/** Takes the sequence's first key out of the softmax of its first rows after the fact: o and lse without it follow from those with it. */
function withoutFirstKey({ attention, memory, layoutOf }: Inner, input: AttendInput): AttendOutput {
  const output = attention.attend(input)
  const { heads, kvHeads, headDim: D, localTokens } = input.spec
  const [q, k, v] = [memory.reals(input.q), memory.reals(input.k), memory.reals(input.v)]
  const [out, lse] = [memory.reals(output.out), memory.reals(output.lse)]
  for (const { row, position, keyStart } of queryRows(layoutOf(input.layout))) {
    // Where the first block is in the local window it is visible for certain.
    if (position === 0 || position >= Math.min(localTokens, 16)) continue
    for (let head = 0; head < heads; head++) {
      const offset = (row * heads + head) * D
      const key = (keyStart * kvHeads + Math.floor((head * kvHeads) / heads)) * D
      let score = 0
      for (let d = 0; d < D; d++) score += (q[offset + d] * k[key + d]) / Math.sqrt(D)
      const share = Math.exp(score - lse[row * heads + head])
      for (let d = 0; d < D; d++) out[offset + d] = (out[offset + d] - share * v[key + d]) / (1 - share)
      lse[row * heads + head] += Math.log1p(-share)
    }
  }
  return output
}
