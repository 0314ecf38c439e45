import { activatedTokens, InvalidConfigError, PackedLayout, type PhsaConfig, type SelectionPolicy } from '@phsa/core'
import type { DecoderModel, TrainingBatch } from '@phsa/model'
import { nextTurn } from '../next-turn.js'
import { requireInteger } from '../number-settings.js'
import { type Cluster, clusterEstimate, type Estimate } from './cluster-estimate.js'
import { type PolicyVariant, policyVariants } from './policy-variant.js'
import { lossesPast, scoredTokens } from './scored-tokens.js'

/** Which policies to compare by position, on what text. */
export interface PositionOptions {
  readonly model: DecoderModel
  /** Held-out text; see `heldOutBatches`. Only long sequences say something of late positions. */
  readonly batches: readonly TrainingBatch[]
  /** Policies, or their names; default phsa and mean-pool. Dense is always measured besides, as the control. */
  readonly policies?: readonly (SelectionPolicy | string)[]
  /** Default: the model's. */
  readonly topKs?: readonly number[]
  /** Default: the model's. Its topK does not matter here. */
  readonly phsa?: PhsaConfig
  /** First positions of the buckets after the first, ascending; default 64, 128, 256 and so on. */
  readonly edges?: readonly number[]
  /** Decides the blocks of policy `random`; default 0. */
  readonly seed?: number
  /** Stops between two batches by throwing the signal's reason. */
  readonly signal?: AbortSignal
}

/** Loss of the tokens that are predicted from a range of positions. */
export interface PositionBucket {
  /** Positions `from` up to, not including, `to`. */
  readonly from: number
  readonly to: number
  /** Tokens predicted there. */
  readonly tokens: number
  /** Mean negative log-likelihood, natural logarithm. */
  readonly loss: number
  /** exp(loss). */
  readonly perplexity: number
  /** Loss less that of dense attention on the same tokens, its interval by batches; absent for dense. */
  readonly overDense?: Estimate
}

/** One line of the table; plain JSON. */
export interface PositionRow {
  readonly policy: string
  readonly topK: number | 'dense'
  /** A: queries at earlier positions see all; absent for dense. */
  readonly activatedTokens?: number
  /** The same ranges in every line; those without a token are left out. */
  readonly buckets: readonly PositionBucket[]
}

/** How far an evaluation by position is: one batch more is measured. */
export interface PositionProgress {
  readonly done: number
  readonly total: number
  /** A line of the table that is now complete. */
  readonly row?: PositionRow
}

/** Losses of one policy: for each batch one of each predicted token. */
type Losses = readonly (readonly number[])[]

/**
 * Perplexity by position in long windows (spec 9), each policy in every layer, against dense attention on the same tokens. Yields progress, and each line as
 * it is complete; returns all lines, dense first.
 * @throws InvalidConfigError for wrong settings, before the first forward
 */
export async function* evaluatePositions(options: PositionOptions): AsyncGenerator<PositionProgress, PositionRow[]> {
  const { model, batches, signal, policies = ['phsa', 'mean-pool'], phsa = model.phsa, seed = 0 } = options
  const variants = policyVariants({ policies, topKs: options.topKs ?? [phsa.topK], phsa, seed })
  const positions = batches.map(predictedPositions)
  if (!positions.some(({ length }) => length > 0)) {
    throw new InvalidConfigError('batches', 'no token of the batches is predicted; give at least one batch of held-out text.')
  }
  const ranges = bucketRanges(positions, options.edges)
  model.reservePositions(Math.max(...batches.flatMap(({ lengths }) => lengths)))
  const total = variants.length * batches.length
  const table: PositionRow[] = []
  let dense: Losses | undefined
  let done = 0
  for (const variant of variants) {
    const losses: number[][] = []
    for (const batch of batches) {
      await nextTurn()
      signal?.throwIfAborted()
      losses.push(await lossesPast(model, batch, variant, 0))
      const isLast = losses.length === batches.length
      if (isLast) table.push(tableRow(variant, ranges, positions, losses, dense))
      yield { done: ++done, total, ...(isLast ? { row: table.at(-1) } : {}) }
    }
    dense ??= losses
  }
  return table
}

/** Positions that a token is predicted from, in the order of `lossesPast`. */
function predictedPositions(batch: TrainingBatch): number[] {
  const positions = new PackedLayout(batch.lengths, 1).positions()
  return scoredTokens(batch, 0).map((token) => positions[token])
}

function bucketRanges(positions: readonly (readonly number[])[], edges?: readonly number[]): { from: number; to: number }[] {
  const end = 1 + positions.reduce((most, batch) => batch.reduce((largest, position) => Math.max(largest, position), most), 0)
  const inner = edges ?? Array.from({ length: 24 }, (_, power) => 64 * 2 ** power)
  for (const [index, edge] of inner.entries()) {
    requireInteger('edges', edge, 1)
    if (index > 0 && edge <= inner[index - 1]) {
      throw new InvalidConfigError('edges', `edges has ${edge} after ${inner[index - 1]}; give rising positions.`)
    }
  }
  const starts = [0, ...inner.filter((edge) => edge < end)]
  return starts.map((from, index) => ({ from, to: starts[index + 1] ?? end }))
}

function tableRow(
  { policy, phsa }: PolicyVariant,
  ranges: readonly { from: number; to: number }[],
  positions: readonly (readonly number[])[],
  losses: Losses,
  dense: Losses | undefined,
): PositionRow {
  const clusters = (from: number, to: number, lossOf: (batch: number, token: number) => number): Cluster[] =>
    positions.map((batch, index) => {
      const tokens = Array.from(batch.keys()).filter((token) => batch[token] >= from && batch[token] < to)
      return { sum: tokens.reduce((sum, token) => sum + lossOf(index, token), 0), count: tokens.length }
    })
  const buckets = ranges.flatMap(({ from, to }): PositionBucket[] => {
    const own = clusters(from, to, (batch, token) => losses[batch][token])
    const tokens = own.reduce((sum, { count }) => sum + count, 0)
    if (tokens === 0) return []
    const loss = clusterEstimate(own).mean
    const over = dense && { overDense: clusterEstimate(clusters(from, to, (batch, token) => losses[batch][token] - dense[batch][token])) }
    return [{ from, to, tokens, loss, perplexity: Math.exp(loss), ...over }]
  })
  if (policy.name === 'dense') return { policy: 'dense', topK: 'dense', buckets }
  return { policy: policy.name, topK: phsa.topK, activatedTokens: activatedTokens(phsa), buckets }
}
