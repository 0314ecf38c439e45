import { activatedTokens, InvalidConfigError, type PhsaConfig, type PunctuationTable, type SelectionPolicy } from '@phsa/core'
import { type DecoderModel, tokenBatch } from '@phsa/model'
import { nextTurn } from '../next-turn.js'
import { requireInteger } from '../number-settings.js'
import type { ChoiceFault, ChoiceRecord } from './choice-records.js'
import { type ChoiceRequest, type ChoiceSequence, choiceRequests, packSequences, sharedSequences } from './choice-requests.js'
import type { Estimate } from './cluster-estimate.js'
import { pairedDifference } from './paired-difference.js'
import { type PolicyVariant, policyVariants } from './policy-variant.js'
import type { NeedleTokenizer } from './text-needle.js'

/** Questions, and the policies that must answer them. */
export interface ChoiceOptions {
  readonly model: DecoderModel
  readonly tokenizer: NeedleTokenizer
  /** See `parseChoices`. */
  readonly records: readonly ChoiceRecord[]
  /** Policies, or their names; default phsa and mean-pool. Dense is always measured besides, as the control. */
  readonly policies?: readonly (SelectionPolicy | string)[]
  /** Default: the model's. */
  readonly topKs?: readonly number[]
  /** Default: the model's. Its topK does not matter here. */
  readonly phsa?: PhsaConfig
  /** Without it no token counts as punctuation, and a block's representative is its mean. */
  readonly punctuation?: PunctuationTable
  /** Between context and choice; default a blank. */
  readonly delimiter?: string
  /** Tokens of a batch, more only for a longer record; default 4096. */
  readonly batchTokens?: number
  /** Decides the blocks of policy `random`; default 0. */
  readonly seed?: number
  /** Stops between two batches by throwing the signal's reason. */
  readonly signal?: AbortSignal
}

/** A share of right answers, 0 to 1. */
export interface ChoiceAccuracy {
  readonly accuracy: number
  /** Standard error of a mean over records; 0 where all answers are alike, and with one record. */
  readonly standardError: number
}

/** One line of the table; plain JSON. */
export interface ChoiceRow {
  readonly policy: string
  readonly topK: number | 'dense'
  /** The choice of highest log-likelihood counts as the answer. */
  readonly acc: ChoiceAccuracy
  /** The same after division by the choice's UTF-8 bytes; lm-evaluation-harness counts characters, which is the same for ASCII. */
  readonly accNorm: ChoiceAccuracy
  /** Both less those of dense attention on the same records, with 95 % intervals of the paired differences; absent for dense. */
  readonly overDense?: { readonly acc: Estimate; readonly accNorm: Estimate }
  /** Sequences longer than A, the only ones that the policy leaves something out of; absent for dense. */
  readonly sparseSequences?: number
}

/** What an evaluation of multiple-choice questions found; plain JSON. */
export interface ChoiceResult {
  /** Dense first. */
  readonly rows: readonly ChoiceRow[]
  /** Records scored. */
  readonly records: number
  /** Choices of these, and sequences that were run for them. */
  readonly requests: number
  readonly sequences: number
  /** Records that the model cannot take. */
  readonly faults: readonly ChoiceFault[]
}

/** How far an evaluation is: one batch more is run. */
export interface ChoiceProgress {
  readonly done: number
  readonly total: number
  /** A line of the table that is now complete. */
  readonly row?: ChoiceRow
}

/**
 * Multiple-choice scoring by log-likelihood, as lm-evaluation-harness does it: the model reads the context with each choice, and the choice that it finds
 * likeliest is its answer. Choices are packed into batches; what begins alike is run once (`sharedSequences`). Yields progress, and each line as it is complete.
 * @throws InvalidConfigError for wrong settings, or where no record can be scored
 */
export async function* evaluateChoices(options: ChoiceOptions): AsyncGenerator<ChoiceProgress, ChoiceResult> {
  const { model, punctuation, signal, policies = ['phsa', 'mean-pool'], phsa = model.phsa, seed = 0, batchTokens = 4096 } = options
  requireInteger('batchTokens', batchTokens, 1)
  const variants = policyVariants({ policies, topKs: options.topKs ?? [phsa.topK], phsa, seed })
  const { records, requests, faults } = choiceRequests(options.records, options.tokenizer, model.config.maxPositions, options.delimiter)
  if (records.length === 0) {
    const why = faults.length > 0 ? ` Line ${faults[0].line}: ${faults[0].reason}.` : ''
    throw new InvalidConfigError('records', `none of the ${options.records.length} records can be scored.${why}`)
  }
  const sequences = sharedSequences(requests)
  const batches = packSequences(sequences, batchTokens)
  model.reservePositions(Math.max(...sequences.map(({ ids }) => ids.length)))
  const total = variants.length * batches.length
  const rows: ChoiceRow[] = []
  let dense: Answers | undefined
  let done = 0
  for (const variant of variants) {
    const scores = new Map<ChoiceRequest, number>()
    for (const [index, batch] of batches.entries()) {
      await nextTurn()
      signal?.throwIfAborted()
      await scoreBatch(model, batch, variant, punctuation, scores)
      const isLast = index === batches.length - 1
      if (isLast) {
        const answers = answersOf(records, requests, scores)
        rows.push(tableRow(variant, answers, dense, sequences))
        dense ??= answers
      }
      yield { done: ++done, total, ...(isLast ? { row: rows.at(-1) } : {}) }
    }
  }
  return { rows, records: records.length, requests: requests.length, sequences: sequences.length, faults }
}

/** Log-likelihood of every request of a batch. */
async function scoreBatch(
  model: DecoderModel,
  batch: readonly ChoiceSequence[],
  variant: PolicyVariant,
  punctuation: PunctuationTable | undefined,
  scores: Map<ChoiceRequest, number>,
): Promise<void> {
  const rows: number[] = []
  const targets: number[] = []
  const owners: ChoiceRequest[] = []
  let start = 0
  for (const { ids, requests } of batch) {
    for (const request of requests) {
      const first = start + request.input.length - request.targets.length
      for (const [place, target] of request.targets.entries()) {
        rows.push(first + place)
        targets.push(target)
        owners.push(request)
      }
    }
    start += ids.length
  }
  const packed = tokenBatch(
    batch.map(({ ids }) => ids),
    punctuation,
  )
  const { memory } = model.backend
  const losses = model.targetLosses(packed, { rows: Int32Array.from(rows), targets: Int32Array.from(targets) }, variant)
  try {
    const values = await memory.download(losses)
    for (const [index, request] of owners.entries()) scores.set(request, (scores.get(request) ?? 0) - values[index])
  } finally {
    losses.dispose()
  }
}

/** Whether each record was answered rightly. */
interface Answers {
  readonly acc: readonly boolean[]
  readonly accNorm: readonly boolean[]
}

function answersOf(
  records: readonly ChoiceRecord[],
  requests: readonly ChoiceRequest[],
  scores: ReadonlyMap<ChoiceRequest, number>,
): Answers {
  const byRecord: ChoiceRequest[][] = records.map(() => [])
  for (const request of requests) byRecord[request.record].push(request)
  const answersBy = (score: (request: ChoiceRequest) => number) =>
    byRecord.map((choices, record) => likeliest(choices.map(score)) === records[record].gold)
  return { acc: answersBy((request) => scores.get(request)!), accNorm: answersBy((request) => scores.get(request)! / request.bytes) }
}

function tableRow(
  { policy, phsa }: PolicyVariant,
  { acc, accNorm }: Answers,
  dense: Answers | undefined,
  sequences: readonly ChoiceSequence[],
): ChoiceRow {
  const accuracies = { acc: accuracyOf(acc), accNorm: accuracyOf(accNorm) }
  if (!dense) return { policy: 'dense', topK: 'dense', ...accuracies }
  const visible = activatedTokens(phsa)
  return {
    policy: policy.name,
    topK: phsa.topK,
    ...accuracies,
    overDense: { acc: pairedDifference(acc, dense.acc), accNorm: pairedDifference(accNorm, dense.accNorm) },
    sparseSequences: sequences.filter(({ ids }) => ids.length > visible).length,
  }
}

/** Index of the largest; the first of equal ones. */
function likeliest(scores: readonly number[]): number {
  return scores.reduce((best, score, index) => (score > scores[best] ? index : best), 0)
}

function accuracyOf(answers: readonly boolean[]): ChoiceAccuracy {
  const accuracy = answers.filter(Boolean).length / answers.length
  // Of the sample: n - 1, as lm-evaluation-harness has it.
  const standardError = answers.length < 2 ? 0 : Math.sqrt((accuracy * (1 - accuracy)) / (answers.length - 1))
  return { accuracy, standardError }
}
