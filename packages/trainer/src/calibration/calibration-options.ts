import { activatedTokens, InvalidConfigError, layerLambda, type PhsaConfig, phsaConfig, type ScoreKind } from '@phsa/core'
import type { DecoderModel, TokenBatch } from '@phsa/model'
import { requireInteger, requireRange } from '../number-settings.js'

/** What to measure, and on what text. */
export interface CalibrationOptions {
  readonly model: DecoderModel
  /**
   * Windows of text in its order, four or more: lambdas are chosen on the first half of them, and what they gain is measured on the second. More windows see
   * smaller differences.
   */
  readonly batches: readonly TokenBatch[]
  /** Candidates, 0 to 1; default 0, 0.1 to 1. 0.5, 1 and what the model has are always measured besides. */
  readonly lambdas?: readonly number[]
  /** Numbers of representatives to compare, besides the model's; default those of 1, 2 and 4 that divide its blocks. */
  readonly representatives?: readonly number[]
  /** Scores to compare, besides the model's; default both. */
  readonly scores?: readonly ('softmax' | 'logit')[]
  /** Blocks selected a query; default the model's. */
  readonly topK?: number
  /** Query positions sampled a window; default 32. */
  readonly rows?: number
  /** Decides the sampled positions; default 0. */
  readonly seed?: number
  /** Stops between two layers by throwing the signal's reason. */
  readonly signal?: AbortSignal
}

/** One way to score blocks. */
export interface ScoreSetting {
  readonly representatives: number
  readonly score: ScoreKind
}

/** Options that were checked, with what follows from them. */
export interface CalibrationPlan {
  /** The model's configuration at the measured budget. */
  readonly phsa: PhsaConfig
  /** The model's own first. */
  readonly settings: readonly ScoreSetting[]
  /** Candidates of every head, ascending; 0.5 and 1 among them. */
  readonly lambdas: readonly number[]
  /** What the model has, [layers][Hkv]: one more candidate. */
  readonly before: readonly (readonly number[])[]
  /** First position that is measured: every earlier one sees all, or attends densely. */
  readonly past: number
  readonly rows: number
  readonly seed: number
}

/** @throws InvalidConfigError naming the setting */
export function planCalibration(options: CalibrationOptions): CalibrationPlan {
  const {
    model,
    lambdas = Array.from({ length: 11 }, (_, step) => step / 10),
    scores = ['softmax', 'logit'],
    rows = 32,
    seed = 0,
  } = options
  const { phsa: own, config } = model
  const phsa = phsaConfig({ topK: options.topK }, own)
  requireInteger('topK', phsa.topK, 1)
  requireInteger('rows', rows, 1)
  requireInteger('seed', seed, 0)
  for (const lambda of lambdas) requireRange('lambdas', lambda, 0, 1)
  if (own.score === 'overlap') {
    throw new InvalidConfigError(
      'score',
      'the model scores blocks by overlap, in which lambda has no part; set phsa.score to softmax or logit.',
    )
  }
  if (own.denseLayers.length >= config.layers) {
    throw new InvalidConfigError(
      'denseLayers',
      'every layer of the model attends densely, so none chooses blocks; take layers off phsa.denseLayers.',
    )
  }
  const counts = options.representatives ?? [1, 2, 4].filter((count) => own.blockSize % count === 0)
  for (const representatives of counts) phsaConfig({ representatives }, phsa)
  const others = counts.flatMap((representatives) => scores.map((score) => ({ representatives, score })))
  return {
    phsa,
    settings: [
      { representatives: own.representatives, score: own.score },
      ...others.filter(({ representatives, score }) => representatives !== own.representatives || score !== own.score),
    ],
    lambdas: [...new Set([...lambdas, 0.5, 1])].sort((left, right) => left - right),
    before: Array.from({ length: config.layers }, (_, layer) => Array.from(layerLambda(own, layer, config.kvHeads), roundedLambda)),
    past: Math.max(activatedTokens(phsa), phsa.denseBelow),
    rows,
    seed,
  }
}

/** f32 on the device, and so with digits that nobody wrote: 0.1 must not become 0.10000000149. */
function roundedLambda(lambda: number): number {
  return Number(lambda.toPrecision(7))
}
