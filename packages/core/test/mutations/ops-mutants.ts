import type { Tensor } from '../../src/contract/tensor.js'
import type { Inner, Mutant } from './mutant.js'

/** Ops that are right for small shapes and tame numbers only. */
export const opsMutants: readonly Mutant[] = [
  {
    name: 'cross-entropy ignores ids past 512',
    caughtBy: ['f32/ops/cross-entropy-chunks', 'f32/ops/cross-entropy-chunks-backward'],
    mutate: ({ memory, ops }) => {
      const shortened = <T>(head: Tensor, call: () => T): T => {
        const values = memory.reals(head)
        const own = values.slice()
        values.fill(0, 512 * head.shape[1])
        const result = call()
        values.set(own)
        return result
      }
      return {
        ops: {
          crossEntropy: (input) => shortened(input.head, () => ops.crossEntropy(input)),
          crossEntropyBackward: (input, dHead) => shortened(input.head, () => ops.crossEntropyBackward(input, dHead)),
        },
      }
    },
  },
  {
    name: 'cross-entropy in f32 without the maximum subtracted',
    caughtBy: ['f32/ops/cross-entropy-far', 'f32/ops/cross-entropy-far-backward'],
    mutate: (inner) => ({
      ops: {
        crossEntropy: (input) => {
          const output = inner.ops.crossEntropy(input)
          spoilFarTokens(inner, input.hidden, input.head, output.tokenLosses)
          return output
        },
        crossEntropyBackward: (input, dHead) => {
          const output = inner.ops.crossEntropyBackward(input, dHead)
          spoilFarTokens(inner, input.hidden, input.head, output.tokenLosses)
          return output
        },
      },
    }),
  },
  {
    name: 'rotary angles made up in f32, the table ignored',
    // The halves of layers are composed of it here.
    caughtBy: ['f32/ops/qk-norm-rope', 'f32/ops/qk-norm-rope-backward', 'f32/ops/qk-norm-rope-*14', 'f32/ops/project-heads-*'],
    mutate: ({ memory, ops }) => {
      const ownTable = ({ shape }: Tensor) => {
        const [positions, half] = shape
        const angles = Float32Array.from({ length: positions * half }, (_, index) =>
          Math.fround(Math.fround(999_936 + Math.floor(index / half)) * Math.fround(10_000 ** (-(index % half) / half))),
        )
        return { cos: memory.upload(angles.map(Math.cos), shape), sin: memory.upload(angles.map(Math.sin), shape) }
      }
      return {
        ops: {
          qkNormRope: (input) => memory.scope(() => ops.qkNormRope({ ...input, rope: ownTable(input.rope.cos) })),
          qkNormRopeBackward: (dy, input, dWeight) =>
            memory.scope(() => ops.qkNormRopeBackward(dy, { ...input, rope: ownTable(input.rope.cos) }, dWeight)),
        },
      }
    },
  },
  {
    name: 'sampling ignores ids past 1024',
    caughtBy: ['f32/ops/sample-wide'],
    mutate: ({ memory, ops }) => ({
      ops: {
        sample: (logits, control) =>
          memory.scope(() => {
            const width = logits.shape[1]
            const masked = memory.reals(logits).map((value, index) => (index % width < 1024 ? value : Number.NEGATIVE_INFINITY))
            return ops.sample(memory.upload(masked, logits.shape, logits.dtype), control)
          }),
      },
    }),
  },
  {
    name: 'AdamW without epsilon',
    caughtBy: ['f32/ops/adamw'],
    mutate: ({ ops }) => ({
      ops: { adamw: (parameters, control, norm, options) => ops.adamw(parameters, control, norm, { ...options, epsilon: 0 }) },
    }),
  },
  {
    name: 'gradient norm squares in f32',
    caughtBy: ['f32/ops/gradient-norm-sizes'],
    mutate: ({ memory, ops }) => ({
      ops: {
        gradientNorm: (gradients, maxNorm) => {
          const norm = ops.gradientNorm(gradients, maxNorm)
          const values = memory.reals(norm)
          if (!Number.isFinite(Math.fround(values[0] ** 2))) values.set([Number.POSITIVE_INFINITY, 0])
          return norm
        },
      },
    }),
  },
  {
    name: 'the clip scale of zero gradients is 0 / 0',
    caughtBy: ['f32/ops/gradient-norm-sizes'],
    mutate: ({ memory, ops }) => ({
      ops: {
        gradientNorm: (gradients, maxNorm) => {
          const norm = ops.gradientNorm(gradients, maxNorm)
          const values = memory.reals(norm)
          if (values[0] === 0) values[1] = Number.NaN
          return norm
        },
      },
    }),
  },
]

/** Losses of tokens whose sum of exp(logit) is infinite in f32. */
function spoilFarTokens({ memory }: Inner, hidden: Tensor, head: Tensor, tokenLosses: Tensor): void {
  const [x, weight, losses] = [memory.reals(hidden), memory.reals(head), memory.reals(tokenLosses)]
  const width = head.shape[1]
  for (let token = 0; token < losses.length; token++) {
    let sum = 0
    for (let id = 0; id < head.shape[0]; id++) {
      let logit = 0
      for (let index = 0; index < width; index++) logit += x[token * width + index] * weight[id * width + index]
      sum += Math.exp(logit)
    }
    if (losses[token] !== 0 && !Number.isFinite(Math.fround(sum))) losses[token] = Number.NaN
  }
}
