import { type AttentionSpec, attentionSpec, PHSA_32K, type PhsaConfig, phsaConfig, type ScoreKind } from '@phsa/core'
import { fullPlan, type ModelPlan, smallPlan } from '../model/model-plan.js'
import type { ModelRowPlan } from './measure-model.js'
import type { AttentionRow } from './webgpu-result.js'

/** What `--only` names. */
export const WEBGPU_GROUPS = ['products', 'attention', 'model'] as const
export type WebgpuGroup = (typeof WEBGPU_GROUPS)[number]

/** Everything that is measured, the most important first. */
export interface WebgpuPlan {
  /** What follows the type in the names of the conformance cases that are run first; of more FLOPs than that they take the reference seconds. */
  readonly gate: { readonly pattern: RegExp; readonly mostFlops: number }
  /** Rows and columns of the matrices. */
  readonly productSize: number
  readonly attention: readonly AttentionPlan[]
  readonly model: Pick<ModelPlan, 'config' | 'phsa' | 'chunk'>
  readonly modelRows: readonly ModelRowPlan[]
}

/** Attention of one spec at one length. */
export interface AttentionPlan {
  readonly length: number
  readonly attention: AttentionRow['attention']
  readonly score: ScoreKind
}

const HEADS = { heads: 16, kvHeads: 8, headDim: 128 }

/** The spec of a row for an engine of this type; dense is a window as long as the sequence. */
export function specOf({ length, attention, score }: AttentionPlan, dtype: AttentionSpec['dtype']): AttentionSpec {
  const sparse: PhsaConfig = phsaConfig({ topK: 16, score }, PHSA_32K)
  const config =
    attention === 'phsa' ? sparse : { ...sparse, topK: 0, localTokens: Math.ceil(length / sparse.blockSize) * sparse.blockSize }
  return attentionSpec(config, { ...HEADS, dtype })
}

/** Lengths in this order; the row that the bar is about comes first, dense attention of 131,072 tokens last. */
export function fullWebgpuPlan(): WebgpuPlan {
  const { config, phsa, chunk } = fullPlan([])
  return {
    gate: { pattern: /^(pool|select|attend|attend-backward)\/(m16-t101|g2-h1-d128-t203|packed|decode)$/, mostFlops: 1e8 },
    productSize: 4096,
    attention: attentionPlans([32_768, 4096, 8192, 16_384, 65_536, 131_072]),
    model: { config, phsa, chunk },
    modelRows: [
      prefill('phsa', 4096),
      prefill('phsa', 32_768),
      decode('phsa', 4096, 1),
      decode('phsa', 32_768, 1),
      decode('phsa', 4096, 8),
      prefill('dense', 4096),
      decode('dense', 32_768, 1),
      prefill('dense', 32_768),
    ],
  }
}

/** Short sequences and two layers, to see that everything works. */
export function smallWebgpuPlan(): WebgpuPlan {
  const { config, phsa } = smallPlan([])
  return {
    gate: { pattern: /^(pool|select|attend)\/m8-/, mostFlops: 3e6 },
    productSize: 256,
    attention: attentionPlans([1024]),
    model: { config: { ...config, vocabSize: 1024, hiddenSize: 128, intermediateSize: 128, heads: 2, kvHeads: 1 }, phsa, chunk: 64 },
    modelRows: [prefill('phsa', 96), decode('phsa', 96, 2), prefill('dense', 96)],
  }
}

function attentionPlans(lengths: readonly number[]): AttentionPlan[] {
  const sparse = lengths.flatMap((length) => [
    { length, attention: 'phsa', score: 'softmax' } as const,
    { length, attention: 'phsa', score: 'logit' } as const,
    { length, attention: 'dense', score: 'softmax' } as const,
  ])
  const isLongest = ({ length, attention }: AttentionPlan) => attention === 'dense' && length === Math.max(...lengths)
  return [...sparse.filter((plan) => !isLongest(plan)), ...sparse.filter(isLongest)]
}

function prefill(attention: ModelRowPlan['attention'], length: number): ModelRowPlan {
  return { what: 'prefill', attention, length, sequences: 1 }
}

function decode(attention: ModelRowPlan['attention'], length: number, sequences: number): ModelRowPlan {
  return { what: 'decode', attention, length, sequences }
}
