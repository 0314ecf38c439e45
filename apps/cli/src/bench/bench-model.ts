import { type PhsaConfig, phsaConfig } from '@phsa/core'
import type { DecoderConfig } from '@phsa/model'
import type { BatchOptions } from '@phsa/trainer'
import type { BenchCase } from './bench-case.js'

/** The model that steps and generation are timed with; its weights are fresh, because the speed does not depend on what it has learned. */
export interface BenchModel {
  readonly config: DecoderConfig
  readonly phsa: PhsaConfig
  /** Of a training step. */
  readonly batch: BatchOptions
}

/** Whether a model attends densely, or selects blocks. */
export type Sparsity = 'dense' | 'sparse'

/** A decoder of 1.8 million parameters, 1.05 of them in the embedding that the output shares, on short sequences whose windows leave most blocks to be chosen. */
export const BENCH_MODEL: BenchModel = {
  config: {
    vocabSize: 8192,
    hiddenSize: 128,
    intermediateSize: 384,
    layers: 4,
    heads: 4,
    kvHeads: 2,
    headDim: 32,
    rmsNormEpsilon: 1e-6,
    ropeTheta: 10_000,
    maxPositions: 4096,
    tieWordEmbeddings: true,
    eosTokenIds: [0],
  },
  phsa: phsaConfig({ blockSize: 16, initTokens: 16, localTokens: 32, topK: 2 }),
  batch: { sequences: 1, tokens: 512 },
}

/** A model's sizes, for the result file. */
export function modelShape({ config, phsa }: BenchModel, sparsity: Sparsity): BenchCase['shape'] {
  const { layers, hiddenSize, vocabSize, heads, kvHeads, headDim } = config
  const { blockSize, initTokens, localTokens, topK } = phsa
  const selection: BenchCase['shape'] = sparsity === 'sparse' ? { blockSize, initTokens, localTokens, topK } : {}
  return { layers, hiddenSize, vocabSize, heads, kvHeads, headDim, dtype: 'f32', ...selection }
}

/** How the attention of a case is called in its name. */
export function sparsityName({ phsa }: BenchModel, sparsity: Sparsity): string {
  return sparsity === 'sparse' ? `topK ${phsa.topK}` : 'dense'
}
