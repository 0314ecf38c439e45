import type { PhsaConfig } from '@phsa/core'
import type { DecoderConfig } from '@phsa/model'
import type { BatchOptions } from '@phsa/trainer'
import { DEMO_BATCH, DEMO_MODEL, DEMO_PHSA } from '../demo/demo-recipe.js'
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

/** The model of `phsa demo`. */
export const DEMO_BENCH_MODEL: BenchModel = { config: DEMO_MODEL, phsa: DEMO_PHSA, batch: DEMO_BATCH }

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
