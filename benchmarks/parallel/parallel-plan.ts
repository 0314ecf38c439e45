import { type DType, type PhsaConfig, phsaConfig } from '@phsa/core'
import type { DecoderConfig } from '@phsa/model'
import { BENCH_PHSA, QWEN3_06B } from '../model/model-plan.js'

/** Steps of one kind: their attention, and how many are taken. Plain JSON. */
export interface StepsPlan {
  readonly name: string
  /** `dense`, or blocks a query. */
  readonly topK: number | 'dense'
  /** Taken before those that count: they compile and record. */
  readonly warmUp: number
  readonly steps: number
  /** Micro-batches a step of all GPUs together; default one a GPU. */
  readonly microBatches?: number
}

/** What each rank trains. */
export interface ParallelPlan {
  readonly config: DecoderConfig
  readonly phsa: PhsaConfig
  readonly dtype: DType
  readonly sequences: number
  readonly tokens: number
  /** The first is the same work for one GPU and for two: their losses must agree. */
  readonly runs: readonly StepsPlan[]
}

/** The Qwen3-0.6B shape in bf16, 8 x 4,096 tokens a GPU. */
export function fullPlan(): ParallelPlan {
  return {
    config: QWEN3_06B,
    phsa: BENCH_PHSA,
    dtype: 'bf16',
    sequences: 8,
    tokens: 4096,
    runs: [
      { name: 'check', topK: 2, warmUp: 0, steps: 3, microBatches: 2 },
      { name: 'topK 2', topK: 2, warmUp: 4, steps: 16 },
      { name: 'topK 16', topK: 16, warmUp: 4, steps: 10 },
      { name: 'dense', topK: 'dense', warmUp: 4, steps: 10 },
    ],
  }
}

/** A shape that any backend trains in a second, to see that everything works. */
export function smallPlan(dtype: DType): ParallelPlan {
  return {
    config: {
      ...QWEN3_06B,
      vocabSize: 256,
      hiddenSize: 32,
      intermediateSize: 64,
      layers: 2,
      heads: 2,
      kvHeads: 1,
      headDim: 32,
      maxPositions: 256,
    },
    phsa: phsaConfig({ blockSize: 16, initTokens: 16, localTokens: 16, topK: 2 }),
    dtype,
    sequences: 1,
    tokens: 128,
    runs: [
      { name: 'check', topK: 2, warmUp: 0, steps: 3, microBatches: 2 },
      { name: 'topK 2', topK: 2, warmUp: 1, steps: 3 },
    ],
  }
}
