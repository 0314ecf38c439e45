import {
  type AttentionBackend,
  type AttentionSpec,
  attentionCost,
  attentionSpec,
  densePolicy,
  exactCounts,
  PHSA_4K,
  phsaAttention,
  phsaAttentionBackward,
  phsaPolicy,
  type Tensor,
} from '@phsa/core'
import { attentionInputs } from '@phsa/core/testing'
import { checkMeasuredAttention, checkShortAttention } from './attention-gate.js'
import { attentionCase, uploadProblem } from './attention-problem.js'
import type { AttentionBenchCase, BenchContext, Measurement } from './bench-case.js'
import { timeRuns, waitFor } from './timing.js'

/** One sequence and the heads that look at it. */
export interface AttentionShape {
  readonly heads: number
  readonly kvHeads: number
  readonly headDim: number
  /** Tokens, each of them a query. */
  readonly length: number
}

/** Attention of one layer: pool, select and attend, and its backward pass. @param topK blocks a query, or dense; the rest is the paper's for 4k */
export function attentionBench(shape: AttentionShape, topK: number | 'dense'): AttentionBenchCase {
  const base = attentionSpec(topK === 'dense' ? PHSA_4K : { ...PHSA_4K, topK }, { ...shape, dtype: 'f32' })
  const policy = topK === 'dense' ? densePolicy : phsaPolicy
  const spec = policy.spec(base)
  const { heads, kvHeads, headDim, length } = shape
  const { blockSize, initTokens, localTokens } = base
  const windows: AttentionBenchCase['shape'] = topK === 'dense' ? {} : { blockSize, initTokens, localTokens, topK }
  return {
    group: 'attention',
    name: `attention ${length} ${topK === 'dense' ? 'dense' : `topK ${topK}`}`,
    shape: { length, heads, kvHeads, headDim, dtype: 'f32', ...windows },
    gate: async (context) => [...(await checkShortAttention(context, spec)), ...(await checkMeasuredAttention(context, spec, length))],
    measure: (context) => measureAttention(context, spec, length),
  }
}

async function measureAttention(
  { backend, limits, interruption }: BenchContext<AttentionBackend>,
  spec: AttentionSpec,
  length: number,
): Promise<Measurement[]> {
  const { memory } = backend
  const inputs = attentionInputs(attentionCase(spec, length), 'f32')
  const policy = spec.topK === 0 ? densePolicy : phsaPolicy
  // A dense spec made dense again is the same, so `policy` may be applied to it.
  const { problem, forward } = memory.scope(() => {
    const problem = uploadProblem(backend, inputs, spec)
    return { problem, forward: phsaAttention(backend, problem, policy) }
  })
  const { dOut, ...input } = problem
  const cost = attentionCost(spec, exactCounts(spec, [length]), 1)
  try {
    const forwardTiming = await timeRuns(
      async () => {
        const made = phsaAttention(backend, input, policy)
        await waitFor(backend, made.out)
        dispose(Object.values(made))
      },
      limits,
      interruption,
    )
    const backwardTiming = await timeRuns(
      async () => {
        const made = phsaAttentionBackward(backend, dOut, input, forward, policy)
        await waitFor(backend, made.dk)
        dispose(Object.values(made))
      },
      limits,
      interruption,
    )
    return [
      { name: 'forward', timing: forwardTiming, flops: cost.totalFlops, tokens: length },
      // Scores again, then dp, dq, dk and dv: five products where attention itself has two.
      { name: 'backward', timing: backwardTiming, flops: (cost.attentionFlops * 5) / 2, tokens: length },
    ]
  } finally {
    const { q, k, v, weights, layout } = problem
    dispose([q, k, v, dOut, layout.queryStarts, layout.keyStarts, layout.blockStarts, ...Object.values(forward)])
    if (weights.kind === 'fused') weights.weights.dispose()
  }
}

function dispose(tensors: readonly Tensor[]): void {
  for (const tensor of tensors) tensor.dispose()
}
