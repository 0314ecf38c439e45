import { type PunctuationTable, phsaPolicy } from '@phsa/core'
import { type DecoderModel, generate, type TextTokenizer } from '@phsa/model'
import type { Interruption } from '../interruption.js'
import type { DemoResults } from '../report/demo-results.js'

/** New tokens of each continuation. */
const NEW_TOKENS = 48

/** The likeliest tokens of so small a model run in a circle; the same draws for both continuations keep them comparable. */
const SAMPLING = { temperature: 0.8, topK: 40, seed: 1 } as const

/** Continues a prompt with the same draws, once sparsely and once densely. */
export async function continuePrompt(
  model: DecoderModel,
  prompt: Int32Array,
  { tokenizer, punctuation, interruption }: { tokenizer: TextTokenizer; punctuation: PunctuationTable; interruption: Interruption },
): Promise<DemoResults['sample']> {
  const complete = async (attention: 'dense' | { policy: typeof phsaPolicy; phsa: DecoderModel['phsa'] }) => {
    const ids: number[] = []
    const options = { maxNewTokens: NEW_TOKENS, attention, punctuation, sampling: SAMPLING, signal: interruption.signal }
    for await (const id of generate(model, prompt, options)) ids.push(id)
    return tokenizer.decode(ids)
  }
  const sparse = await complete({ policy: phsaPolicy, phsa: model.phsa })
  return { prompt: tokenizer.decode(prompt), sparse, dense: await complete('dense'), topK: model.phsa.topK }
}
