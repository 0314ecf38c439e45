import { activatedTokens, type PunctuationTable, selectionPolicy, sparsity } from '@phsa/core'
import { type DecoderModel, generate, nextTokenBatch, type TextTokenizer } from '@phsa/model'
import type { DemoRow } from './demo-results.js'

/** Tokens drawn from the likeliest; the likeliest alone would run in a circle in so small a model. */
export const DEMO_SAMPLING = { temperature: 0.8, topK: 40 } as const

/** What is read, and how much is written after it. */
export interface Reading {
  readonly model: DecoderModel
  readonly tokenizer: TextTokenizer
  readonly punctuation: PunctuationTable
  /** The document's tokens, those where the model writes included. */
  readonly ids: Int32Array
  /** At least 2. */
  readonly newTokens: number
  readonly seed: number
  readonly signal: AbortSignal
}

/** Predicts every token of a document, then reads it without its end and writes one of its own, all under one policy. @throws the signal's reason */
export async function readOn(policy: DemoRow['policy'], reading: Reading): Promise<DemoRow> {
  const { model, tokenizer, ids } = reading
  const isDense = policy === 'dense'
  return {
    policy,
    activatedTokens: isDense ? ids.length : activatedTokens(model.phsa),
    sparsity: isDense ? 0 : sparsity(model.phsa, ids.length),
    perplexity: await perplexityOf(policy, reading),
    ...(await writeOn(policy, reading, (written) => tokenizer.decode(written))),
  }
}

async function perplexityOf(policy: DemoRow['policy'], { model, punctuation, ids, signal }: Reading): Promise<number> {
  signal.throwIfAborted()
  const { memory } = model.backend
  const attention = { policy: selectionPolicy(policy), phsa: model.phsa }
  const { loss, tokenLosses } = model.loss(nextTokenBatch([ids], punctuation), attention)
  tokenLosses.dispose()
  try {
    const [mean] = await memory.download(loss)
    return Math.exp(mean)
  } finally {
    loss.dispose()
  }
}

async function writeOn(
  policy: DemoRow['policy'],
  { model, punctuation, ids, newTokens, seed, signal }: Reading,
  decode: (ids: number[]) => string,
): Promise<Pick<DemoRow, 'promptSeconds' | 'tokenSeconds' | 'text'>> {
  const written: number[] = []
  const seconds: number[] = []
  let before = performance.now()
  for await (const id of generate(model, ids.subarray(0, ids.length - newTokens), {
    maxNewTokens: newTokens,
    attention: { policy: selectionPolicy(policy), phsa: model.phsa },
    punctuation,
    sampling: { ...DEMO_SAMPLING, seed },
    // The same number of tokens each time.
    stopTokenIds: [],
    signal,
  })) {
    const now = performance.now()
    seconds.push((now - before) / 1000)
    written.push(id)
    before = now
  }
  const [promptSeconds, ...later] = seconds
  return { promptSeconds, tokenSeconds: later.sort((left, right) => left - right)[later.length >> 1], text: decode(written) }
}
