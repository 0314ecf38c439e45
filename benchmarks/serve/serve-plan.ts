import { type DType, PHSA_32K, type PhsaConfig, phsaConfig } from '@phsa/core'
import type { DecoderConfig } from '@phsa/model'
import { type AttentionName, BENCH_PHSA, QWEN3_06B } from '../model/model-plan.js'

/** One row: so many streams that each continue a prompt of so many tokens. Plain JSON. */
export interface ServeRowPlan {
  readonly context: number
  readonly batch: number
  readonly attention: AttentionName
}

/** A model and what is measured of a server with it. */
export interface ServePlan {
  readonly config: DecoderConfig
  readonly phsa: PhsaConfig
  readonly dtype: DType
  readonly rows: readonly ServeRowPlan[]
  /** Tokens of the server's caches. */
  readonly cacheTokens: number
  /** Tokens in one step of the server, and in one of prompts alone; undefined: the server's default. */
  readonly stepTokens: number
  readonly promptTokens?: number
  /** Tokens of each stream that count. */
  readonly steps: number
  /** Tokens of each stream before those: the first steps of a shape compile and record. */
  readonly warmUp: number
  /** Prompt and text of the check before, and of the comparisons of one request alone and among others. */
  readonly checked: {
    readonly prompt: number
    readonly tokens: number
    readonly batch: number
    /** A shorter prompt: every block that its text sees is chosen. */
    readonly covered: number
  }
  /** Bytes that are copied for the rate of a copy. */
  readonly copiedBytes: number
}

/** Room behind the longest prompt. */
const TEXT_ROOM = 2048
const CONTEXTS: readonly (readonly [context: number, batches: readonly number[]])[] = [
  [1024, [1, 8, 64]],
  [32_768, [1, 8, 16]],
  [131_072, [1, 4]],
]

/** `32768x8-phsa`, as `--only` takes it. */
export function rowName({ context, batch, attention }: ServeRowPlan): string {
  return `${context}x${batch}-${attention}`
}

/** What the issue asks for, PHSA and dense next to each other. */
export function fullServePlan(): ServePlan {
  const longest = 131_072 + TEXT_ROOM
  return {
    config: { ...QWEN3_06B, maxPositions: longest },
    phsa: BENCH_PHSA,
    dtype: 'bf16',
    rows: rowsOf(CONTEXTS),
    // Four of the longest: as many tokens as sixteen of 32,768.
    cacheTokens: 4 * longest,
    stepTokens: 4096,
    steps: 128,
    warmUp: 8,
    checked: { prompt: 1500, tokens: 64, batch: 64, covered: 800 },
    copiedBytes: 2 ** 30,
  }
}

/** Two narrow layers and short prompts, to see that everything works: also on backends that compute on the host. */
export function smallServePlan(dtype: DType): ServePlan {
  return {
    config: {
      ...QWEN3_06B,
      vocabSize: 512,
      hiddenSize: 64,
      intermediateSize: 96,
      layers: 2,
      heads: 2,
      kvHeads: 1,
      maxPositions: 512,
    },
    phsa: phsaConfig({ blockSize: 16, initTokens: 16, localTokens: 32, topK: 2 }, PHSA_32K),
    dtype,
    rows: rowsOf([
      [96, [1, 3]],
      [200, [1]],
    ]),
    cacheTokens: 2048,
    stepTokens: 128,
    steps: 8,
    warmUp: 3,
    checked: { prompt: 120, tokens: 8, batch: 4, covered: 64 },
    copiedBytes: 2 ** 20,
  }
}

function rowsOf(contexts: typeof CONTEXTS): ServeRowPlan[] {
  return contexts.flatMap(([context, batches]) =>
    batches.flatMap((batch) => (['phsa', 'dense'] as const).map((attention) => ({ context, batch, attention }))),
  )
}
