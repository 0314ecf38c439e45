import { type DType, densePolicy, PHSA_32K, type PhsaConfig, phsaConfig, phsaPolicy } from '@phsa/core'
import type { AttentionChoice, DecoderConfig } from '@phsa/model'

/** What `--only` names. */
export const MODEL_GROUPS = ['prefill', 'train', 'decode', 'memory'] as const
export type ModelGroup = (typeof MODEL_GROUPS)[number]

/** How the layers attend. */
export type AttentionName = 'phsa' | 'dense'

/** A pass over a prompt for the logits of its last token. Plain JSON. */
export interface PrefillPlan {
  readonly group: 'prefill'
  readonly length: number
  readonly attention: AttentionName
  /** The whole prompt at once, or in chunks through the paged cache. */
  readonly form: 'packed' | 'paged'
}

/** A training step on packed sequences of one length. Plain JSON. */
export interface TrainPlan {
  readonly group: 'train'
  readonly length: number
  readonly attention: AttentionName
  /** Default 1. */
  readonly sequences?: number
  /** Default: the plan's. */
  readonly topK?: number
  /** Layers are computed again in the backward pass; default false. */
  readonly recompute?: boolean
}

/** One more token for each of `planned` sequences that have `length` tokens. Plain JSON. */
export interface DecodePlan {
  readonly group: 'decode'
  readonly length: number
  readonly attention: AttentionName
  readonly planned: number
}

/** One row. Plain JSON. */
export type ModelRowPlan = PrefillPlan | TrainPlan | DecodePlan

/** A model and what is measured of it, the most important first. */
export interface ModelPlan {
  readonly config: DecoderConfig
  readonly phsa: PhsaConfig
  readonly dtype: DType
  readonly rows: readonly ModelRowPlan[]
  /** Tokens of one step of a paged prefill. */
  readonly chunk: number
  /** Training steps of a small model over which memory is watched; 0 for none. */
  readonly memorySteps: number
  /** Rows and columns of the matrices whose product gives the matrix rate. */
  readonly productSize: number
}

/** The shape of Qwen3-0.6B, at positions up to 131,072. */
export const QWEN3_06B: DecoderConfig = {
  vocabSize: 151_936,
  hiddenSize: 1024,
  intermediateSize: 3072,
  layers: 28,
  heads: 16,
  kvHeads: 8,
  headDim: 128,
  rmsNormEpsilon: 1e-6,
  ropeTheta: 1e6,
  maxPositions: 131_072,
  tieWordEmbeddings: true,
  eosTokenIds: [],
}

/** What is measured where nothing else is said: softmax score, topK 16. */
export const BENCH_PHSA = phsaConfig({ topK: 16 }, PHSA_32K)

/** What the issue asks for. Dense attention at 131,072 tokens comes last: it may take longer than everything else. */
export function fullPlan(groups: readonly ModelGroup[]): ModelPlan {
  return plan(QWEN3_06B, groups, {
    lengths: [4096, 32_768, 131_072],
    memorySteps: 10_000,
    trained: [4096, 32_768, 128],
    contexts: [4096, 32_768],
    batches: [1, 8, 64],
  })
}

/** Two layers and short sequences, to see that everything works. */
export function smallPlan(groups: readonly ModelGroup[]): ModelPlan {
  const config = { ...QWEN3_06B, vocabSize: 8192, layers: 2, maxPositions: 4096 }
  return {
    ...plan(config, groups, { lengths: [1024, 2048], trained: [1024], contexts: [1024], batches: [1, 3], memorySteps: 40 }),
    chunk: 512,
    productSize: 2048,
  }
}

/** The policy of a row for a model. */
export function attentionChoice(name: AttentionName, phsa: PhsaConfig): AttentionChoice {
  return { policy: name === 'dense' ? densePolicy : phsaPolicy, phsa }
}

interface Sizes {
  readonly lengths: readonly number[]
  readonly memorySteps: number
  readonly trained: readonly number[]
  readonly contexts: readonly number[]
  readonly batches: readonly number[]
}

function plan(
  config: DecoderConfig,
  groups: readonly ModelGroup[],
  { lengths, memorySteps, trained, contexts, batches }: Sizes,
): ModelPlan {
  const longest = Math.max(...lengths)
  const prefill = (attention: AttentionName, length: number, form: 'packed' | 'paged' = 'packed') =>
    ({ group: 'prefill', length, attention, form }) as const
  const train = (attention: AttentionName, length: number) => ({ group: 'train', length, attention }) as const
  const decode = contexts.flatMap((length) =>
    batches.flatMap((planned) =>
      (['phsa', 'dense'] as const).map((attention) => ({ group: 'decode', length, attention, planned }) as const),
    ),
  )
  const rows: ModelRowPlan[] = [
    ...lengths.map((length) => prefill('phsa', length)),
    prefill('dense', lengths[0]),
    ...trained.map((length) => train('phsa', length)),
    ...lengths.slice(1, -1).map((length) => prefill('dense', length)),
    train('dense', trained[0]),
    ...decode,
    prefill('phsa', lengths[1], 'paged'),
    prefill('dense', longest),
  ]
  return {
    config,
    phsa: BENCH_PHSA,
    dtype: 'bf16',
    rows: rows.filter(({ group }) => groups.includes(group)),
    chunk: 4096,
    memorySteps: groups.includes('memory') ? memorySteps : 0,
    productSize: 8192,
  }
}
