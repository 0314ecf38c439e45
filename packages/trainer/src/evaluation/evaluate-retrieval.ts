import {
  activatedTokens,
  InvalidConfigError,
  type PhsaConfig,
  type PunctuationTable,
  type RetrievalTable,
  type RetrievalTrial,
  retrievalAccuracy,
  type SelectionPolicy,
  sparsity,
} from '@phsa/core'
import { type AttentionChoice, type DecoderModel, tokenBatch } from '@phsa/model'
import { nextTurn } from '../next-turn.js'
import { requireInteger } from '../number-settings.js'
import { type PolicyVariant, policyVariants } from './policy-variant.js'
import { type PlannedPrompt, planPrompts, promptTokens, type RetrievalPromptOptions, scoredLength } from './retrieval-prompts.js'

/** What to hide, in what text, and which policies must find it, at which budgets (spec 8, 9). */
export interface RetrievalOptions extends RetrievalPromptOptions {
  /** Policies, or their names. Dense is always measured besides, as the control. */
  readonly policies: readonly (SelectionPolicy | string)[]
  readonly topKs: readonly number[]
  /** Default: the model's. Its topK does not matter here. */
  readonly phsa?: PhsaConfig
  /** Without it no token counts as punctuation, and a block's representative is its mean. */
  readonly punctuation?: PunctuationTable
  /** Tokens of a batch of prompts, more only for a longer prompt; default 4096. Backends work faster on more at once. */
  readonly batchTokens?: number
  /** Stops between two batches by throwing the signal's reason. */
  readonly signal?: AbortSignal
}

/** One line of the table: accuracy by length and depth and over all prompts, with its interval and the information loss; plain JSON. */
export interface RetrievalRow extends RetrievalTable {
  readonly policy: string
  readonly topK: number | 'dense'
  /** A; for dense the longest prompt. */
  readonly activatedTokens: number
  /** 1 - A / L, L the longest prompt. */
  readonly sparsity: number
}

/** How far a retrieval evaluation is: one prompt more is answered. */
export interface RetrievalProgress {
  /** Prompts answered, of how many. */
  readonly done: number
  readonly total: number
  /** A line of the table that is now complete. */
  readonly row?: RetrievalRow
}

/**
 * Needle-in-a-haystack accuracy of selection policies (spec 9), the policy in every layer and for every token of prompt and answer. Each line
 * gets the same prompts. An answer counts where the model's likeliest token is the right one at each of its places: read in one forward over the
 * prompt with the answer behind it, which is what greedy decoding would give, since a wrong token ends either. Prompts no longer than A are dense.
 * Several prompts are packed into a batch; none sees another.
 * Yields progress, and each line as it is complete; returns all lines, dense first.
 * @throws InvalidConfigError for wrong settings, before the first forward
 */
export async function* evaluateRetrieval(options: RetrievalOptions): AsyncGenerator<RetrievalProgress, RetrievalRow[]> {
  const { model, haystack, punctuation, batchTokens = 4096, signal } = options
  requireInteger('batchTokens', batchTokens, 1)
  const variants = planVariants(options)
  const prompts = planPrompts(options)
  model.reservePositions(prompts.reduce((longest, prompt) => Math.max(longest, scoredLength(prompt)), 0))
  const total = variants.length * prompts.length
  const table: RetrievalRow[] = []
  let done = 0
  for (const variant of variants) {
    const trials: RetrievalTrial[] = []
    for (const batch of packPrompts(prompts, batchTokens)) {
      await nextTurn()
      signal?.throwIfAborted()
      const found = await answers(model, batch, haystack, variant, punctuation)
      for (const [place, { length, depth }] of batch.entries()) {
        signal?.throwIfAborted()
        trials.push({ length, depth, found: found[place] })
        const isLast = trials.length === prompts.length
        if (isLast) table.push(tableRow(variant, retrievalAccuracy(trials)))
        yield { done: ++done, total, ...(isLast ? { row: table.at(-1) } : {}) }
      }
    }
  }
  return table
}

function planVariants({ model, policies, topKs, phsa = model.phsa, seed = 0 }: RetrievalOptions): PolicyVariant[] {
  if (topKs.length === 0 && policies.some((policy) => (typeof policy === 'string' ? policy : policy.name) !== 'dense')) {
    throw new InvalidConfigError('topKs', 'topKs is empty; give at least one, or only the policy dense.')
  }
  return policyVariants({ policies, topKs, phsa, seed })
}

/** Prompts in their order, as many together as a batch may have tokens. */
function packPrompts(prompts: readonly PlannedPrompt[], batchTokens: number): PlannedPrompt[][] {
  const batches: PlannedPrompt[][] = []
  let tokens = Number.POSITIVE_INFINITY
  for (const prompt of prompts) {
    tokens += scoredLength(prompt)
    if (tokens <= batchTokens) batches[batches.length - 1].push(prompt)
    else {
      batches.push([prompt])
      tokens = scoredLength(prompt)
    }
  }
  return batches
}

/** Whether greedy decoding of each prompt begins with its answer. */
async function answers(
  model: DecoderModel,
  prompts: readonly PlannedPrompt[],
  haystack: Int32Array,
  attention: AttentionChoice,
  punctuation: PunctuationTable | undefined,
): Promise<boolean[]> {
  const { memory, ops } = model.backend
  const rows: number[] = []
  let start = 0
  const sequences = prompts.map((prompt) => {
    const { answer, length } = prompt
    const ids = new Int32Array(scoredLength(prompt))
    ids.set(promptTokens(prompt, haystack))
    ids.set(answer.subarray(0, -1), length)
    for (const place of answer.keys()) rows.push(start + length - 1 + place)
    start += ids.length
    return ids
  })
  const likeliest = memory.scope(() => {
    const logits = model.logits(tokenBatch(sequences, punctuation), attention, Int32Array.from(rows))
    // Temperature 0 in every row.
    return ops.sample(logits, memory.alloc([rows.length, 5], 'f32'))
  })
  try {
    const given = await memory.download(likeliest)
    let read = 0
    return prompts.map(({ answer }) => {
      const isFound = answer.every((id, place) => id === given[read + place])
      read += answer.length
      return isFound
    })
  } finally {
    likeliest.dispose()
  }
}

function tableRow({ policy, phsa }: PolicyVariant, accuracy: RetrievalTable): RetrievalRow {
  const longest = accuracy.cells[accuracy.cells.length - 1].length
  if (policy.name === 'dense') return { policy: 'dense', topK: 'dense', ...accuracy, activatedTokens: longest, sparsity: 0 }
  const visible = { activatedTokens: activatedTokens(phsa), sparsity: sparsity(phsa, longest) }
  return { policy: policy.name, topK: phsa.topK, ...accuracy, ...visible }
}
