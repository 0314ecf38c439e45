import { type DecoderModel, type GenerateTextOptions, generate, TextStream, type TextTokenizer } from '@phsa/model'

/** A continuation in one piece, and why it ended. */
export interface Continuation {
  /** Up to the stop text, which is not part of it. */
  readonly text: string
  /** Every token that was made, those of the stop text included, without the one that ends the text. */
  readonly ids: readonly number[]
  readonly ended: 'length' | 'end-token' | 'stop-text' | 'interrupted'
}

/** Continues a text as `generateText` does, and keeps what that does not tell: ids and the reason of the end. An abort gives what there is. */
export async function collectText(
  model: DecoderModel,
  tokenizer: TextTokenizer,
  prompt: string,
  { stop = [], ...options }: GenerateTextOptions,
): Promise<Continuation> {
  const promptIds = tokenizer.encode(prompt)
  const stream = new TextStream(tokenizer, promptIds)
  const ids: number[] = []
  let text = ''
  try {
    for await (const id of generate(model, promptIds, options)) {
      ids.push(id)
      text += stream.push(id)
      const end = firstStop(text, stop)
      if (end !== undefined) return { text: text.slice(0, end), ids, ended: 'stop-text' }
    }
  } catch (error) {
    if (!options.signal?.aborted || error !== options.signal.reason) throw error
    return { text, ids, ended: 'interrupted' }
  }
  text += stream.end()
  const end = firstStop(text, stop)
  if (end !== undefined) return { text: text.slice(0, end), ids, ended: 'stop-text' }
  return { text, ids, ended: ids.length === options.maxNewTokens ? 'length' : 'end-token' }
}

/** Where the text ends: before the stop text that is complete first, the longest of those. */
function firstStop(text: string, stops: readonly string[]): number | undefined {
  const found = stops.map((stop) => ({ start: text.indexOf(stop), length: stop.length })).filter(({ start }) => start >= 0)
  found.sort((left, right) => left.start + left.length - (right.start + right.length) || left.start - right.start)
  return found[0]?.start
}
