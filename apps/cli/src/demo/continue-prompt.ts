import { type PunctuationTable, phsaPolicy } from '@phsa/core'
import { type DecoderModel, generate, type TextTokenizer } from '@phsa/model'
import type { Interruption } from '../interruption.js'
import type { DemoResults } from '../report/demo-results.js'

/** New tokens of each continuation. */
const NEW_TOKENS = 48

/** Continues a prompt greedily, once sparsely and once densely. */
export async function continuePrompt(
  model: DecoderModel,
  prompt: Int32Array,
  { tokenizer, punctuation, interruption }: { tokenizer: TextTokenizer; punctuation: PunctuationTable; interruption: Interruption },
): Promise<DemoResults['sample']> {
  const complete = async (attention: 'dense' | { policy: typeof phsaPolicy; phsa: DecoderModel['phsa'] }) => {
    const ids: number[] = []
    for await (const id of generate(model, prompt, { maxNewTokens: NEW_TOKENS, attention, punctuation, signal: interruption.signal }))
      ids.push(id)
    return tokenizer.decode(ids)
  }
  const sparse = await complete({ policy: phsaPolicy, phsa: model.phsa })
  return { prompt: tokenizer.decode(prompt), sparse, dense: await complete('dense'), topK: model.phsa.topK }
}
