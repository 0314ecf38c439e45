import { phsaPolicy } from '@phsa/core'
import { boundedCheck, type TensorCheck } from '@phsa/core/testing'
import { generate, tokenBatch } from '@phsa/model'
import { type AttentionName, attentionChoice } from '../model/model-plan.js'
import { runStreams, type ServeContext, servePrompt, streamRequest } from './serve-context.js'
import type { ServeGate } from './serve-result.js'
import { servePunctuation } from './serve-tokenizer.js'

/** Mean difference of log-probabilities that another order of sums explains. */
const BOUNDS = { f32: 1e-3, bf16: 0.05 } as const

/**
 * Compares greedy streams of the server with the model without it: the log-probability of each token with that of one packed pass over prompt and text, and
 * the tokens with those of `generate`.
 */
export async function checkServer(context: ServeContext): Promise<ServeGate> {
  const { plan, model } = context
  const { prompt: usual, covered, tokens } = plan.checked
  const punctuation = servePunctuation(plan.config.vocabSize)
  const checks: TensorCheck[] = []
  const equalTokens: Record<string, number> = {}
  const differences: Record<string, number> = {}
  for (const [name, length] of [
    ['phsa', covered],
    ['dense', usual],
    ['phsa', usual],
  ] as const) {
    const prompt = servePrompt(plan, length, length)
    const request = streamRequest({ prompt, maxTokens: tokens, dense: name === 'dense', logprobs: true })
    const [{ ids, logprobs }] = await runStreams(context, [request])
    const direct = await directTokens(context, prompt, name)
    const other = ids.findIndex((id, index) => id !== direct[index])
    const title = `${name} ${length}`
    equalTokens[title] = other < 0 ? ids.length : other
    const exact = await packedLogprobs(context, prompt, ids, name)
    const sum = exact.reduce((total, value, index) => total + Math.abs(value - logprobs[index]), 0)
    differences[title] = ids.length === tokens ? sum / tokens : Number.POSITIVE_INFINITY
    // Blocks of random weights are nearly equal: two orders of sums choose others, which is no mistake.
    if (name === 'dense' || length === covered)
      checks.push(boundedCheck(title, differences[title], BOUNDS[plan.dtype as keyof typeof BOUNDS]))
  }
  return { tokens, equalTokens, differences, checks }

  async function directTokens({ plan: { phsa } }: ServeContext, prompt: readonly number[], name: AttentionName): Promise<number[]> {
    const attention = name === 'dense' ? 'dense' : { policy: phsaPolicy, phsa }
    const ids: number[] = []
    for await (const id of generate(model, Int32Array.from(prompt), { maxNewTokens: tokens, attention, punctuation, stopTokenIds: [] }))
      ids.push(id)
    return ids
  }

  async function packedLogprobs({ plan: { phsa } }: ServeContext, prompt: readonly number[], ids: readonly number[], name: AttentionName) {
    const { memory } = model.backend
    const batch = tokenBatch([Int32Array.from([...prompt, ...ids.slice(0, -1)])], punctuation)
    const rows = Int32Array.from(ids, (_, index) => prompt.length - 1 + index)
    const logits = model.logits(batch, attentionChoice(name, phsa), rows)
    try {
      const values = await memory.download(logits)
      const width = values.length / ids.length
      return ids.map((id, row) => logprobOf(values.subarray(row * width, (row + 1) * width), id))
    } finally {
      logits.dispose()
    }
  }
}

function logprobOf(logits: ArrayLike<number>, id: number): number {
  let largest = Number.NEGATIVE_INFINITY
  for (let index = 0; index < logits.length; index++) largest = Math.max(largest, logits[index])
  let sum = 0
  for (let index = 0; index < logits.length; index++) sum += Math.exp(logits[index] - largest)
  return logits[id] - largest - Math.log(sum)
}
