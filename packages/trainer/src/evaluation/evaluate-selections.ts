import { activatedTokens, InvalidConfigError, type PhsaConfig, perplexity, type SelectionPolicy, sparsity } from '@phsa/core'
import type { DecoderModel, TrainingBatch } from '@phsa/model'
import { nextTurn } from '../next-turn.js'
import { type BatchRecalls, batchRecalls } from './batch-recalls.js'
import { type PolicyVariant, policyVariants } from './policy-variant.js'
import { lossesPast, scoredTokens } from './scored-tokens.js'

/** Which policies to compare, at which budgets, on what text (spec 8, 9). */
export interface EvaluationOptions {
  readonly model: DecoderModel
  /** Held-out text; see `heldOutBatches`. */
  readonly batches: readonly TrainingBatch[]
  /** Policies, or their names. Dense is always measured besides, as the control. */
  readonly policies: readonly (SelectionPolicy | string)[]
  readonly topKs: readonly number[]
  /** Default: the model's. Its topK does not matter here. */
  readonly phsa?: PhsaConfig
  /** Query positions sampled a batch for recall; default 64. */
  readonly rows?: number
  /** Batches that perplexity is measured on, the first ones; default all. */
  readonly perplexityBatches?: number
  /** Decides the sampled positions, and the blocks of policy `random`; default 0. */
  readonly seed?: number
  /** Stops between two measurements by throwing the signal's reason. */
  readonly signal?: AbortSignal
}

/** One line of the table; plain JSON. */
export interface EvaluationRow {
  readonly policy: string
  readonly topK: number | 'dense'
  /** Attention-mass recall, 0 to 1: mean over sampled queries, heads and layers (spec 9). */
  readonly recall: number
  /** The same by layer and KV head, [layers][Hkv]: what `recall` is the mean of. */
  readonly recallByHead: readonly (readonly number[])[]
  /** Sampled queries that every recall is a mean over; of each KV head. */
  readonly queries: number
  /** Share of the oracle's blocks that were chosen at the same budget, 0 to 1: mean over the same, dense layers left out (spec 9); absent for dense. */
  readonly selectionRecall?: number
  /** Of the tokens predicted past `past`, with this policy in every layer. */
  readonly perplexity: number
  /** A; for dense the longest sequence. */
  readonly activatedTokens: number
  /** 1 - A / L, L the longest sequence. */
  readonly sparsity: number
}

/** How far an evaluation is: one measurement more is done. */
export interface EvaluationProgress {
  readonly measure: 'recall' | 'perplexity'
  /** Measurements done, of how many. */
  readonly done: number
  readonly total: number
  /** A line of the table that is now complete. */
  readonly row?: EvaluationRow
}

/**
 * Compares selection policies on held-out text. Recall is measured on the dense forward's own q and k, so that all policies face the same keys;
 * perplexity with the policy in every layer. Both count positions past the largest A among the topKs, the same ones for every line. Yields
 * progress, and each line as it is complete; returns all lines, dense first.
 * @throws InvalidConfigError for wrong settings, or where no position lies past A
 */
export async function* evaluateSelections(options: EvaluationOptions): AsyncGenerator<EvaluationProgress, EvaluationRow[]> {
  const { model, batches, signal } = options
  const variants = planVariants(options)
  const past = Math.max(...variants.slice(1).map(({ phsa }) => activatedTokens(phsa)))
  const longest = Math.max(0, ...batches.flatMap(({ lengths }) => lengths))
  const scored = batches.slice(0, options.perplexityBatches)
  requireLength(past, scored)
  const total = batches.length + variants.length * scored.length
  let done = 0
  const turn = async () => {
    await nextTurn()
    signal?.throwIfAborted()
  }

  const recalls: BatchRecalls[] = []
  for (const [index, batch] of batches.entries()) {
    await turn()
    recalls.push(await batchRecalls({ model, batch, variants, past, rows: options.rows ?? 64, seed: (options.seed ?? 0) + index }))
    yield { measure: 'recall', done: ++done, total }
  }

  const table: EvaluationRow[] = []
  for (const [index, variant] of variants.entries()) {
    const losses: number[] = []
    for (const batch of scored) {
      await turn()
      losses.push(...(await lossesPast(model, batch, variant, past)))
      const isLast = batch === scored.at(-1)
      if (isLast) table.push(tableRow(variant, meanRecalls(recalls, index), perplexity(losses), longest))
      yield { measure: 'perplexity', done: ++done, total, ...(isLast ? { row: table.at(-1) } : {}) }
    }
  }
  return table
}

function planVariants({
  model,
  policies,
  topKs,
  phsa = model.phsa,
  rows = 64,
  perplexityBatches = 1,
  batches,
  seed = 0,
}: EvaluationOptions): PolicyVariant[] {
  for (const [setting, value] of Object.entries({
    rows,
    perplexityBatches,
    batches: batches.length,
    policies: policies.length,
    topKs: topKs.length,
  })) {
    if (Number.isInteger(value) && value >= 1) continue
    throw new InvalidConfigError(setting, `${setting} counts ${value}; at least 1 is needed.`)
  }
  const variants = policyVariants({ policies, topKs, phsa, seed })
  if (variants.length === 1)
    throw new InvalidConfigError('policies', 'only dense was given, which is the control; give a policy to compare with it.')
  return variants
}

function requireLength(past: number, scored: readonly TrainingBatch[]): void {
  if (scored.some((batch) => scoredTokens(batch, past).length > 0)) return
  const longest = Math.max(...scored.flatMap(({ lengths }) => lengths))
  throw new InvalidConfigError(
    'batches',
    `perplexity is measured on ${scored.length} batches (perplexityBatches), whose longest sequence has ${longest} tokens; up to ${past} are visible with the largest topK, and no token past them is predicted. Give longer windows, more perplexityBatches, or a smaller topK, localTokens or initTokens.`,
  )
}

type Recalls = Pick<EvaluationRow, 'recall' | 'recallByHead' | 'queries' | 'selectionRecall'>

/** Means of one variant over batches and layers, each weighing as many queries as it measured. */
function meanRecalls(batches: readonly BatchRecalls[], variant: number): Recalls {
  const measured = batches.flatMap(({ layers }) => layers.map((layer) => layer[variant]))
  const selecting = measured.flatMap(({ selectionRecall, queries }) =>
    selectionRecall === undefined ? [] : [{ selectionRecall, queries }],
  )
  const counted = batches.filter(({ queries }) => queries > 0)
  const recalls = {
    recall: weightedMean(measured.map(({ recall, queries }) => [recall, queries])),
    recallByHead: counted[0].layers.map((layers, layer) =>
      layers[variant].byHead.map((_, head) =>
        weightedMean(counted.map(({ layers, queries }) => [layers[layer][variant].byHead[head], queries])),
      ),
    ),
    queries: counted.reduce((sum, { queries }) => sum + queries, 0),
  }
  if (selecting.length === 0) return recalls
  return { ...recalls, selectionRecall: weightedMean(selecting.map(({ selectionRecall, queries }) => [selectionRecall, queries])) }
}

function weightedMean(pairs: readonly (readonly [value: number, weight: number])[]): number {
  const total = pairs.reduce((sum, [, weight]) => sum + weight, 0)
  return pairs.reduce((sum, [value, weight]) => sum + value * weight, 0) / total
}

function tableRow({ policy, phsa }: PolicyVariant, recalls: Recalls, value: number, longest: number): EvaluationRow {
  if (policy.name === 'dense')
    return { policy: 'dense', topK: 'dense', ...recalls, perplexity: value, activatedTokens: longest, sparsity: 0 }
  return {
    policy: policy.name,
    topK: phsa.topK,
    ...recalls,
    perplexity: value,
    activatedTokens: activatedTokens(phsa),
    sparsity: sparsity(phsa, longest),
  }
}
