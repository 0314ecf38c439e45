import type { DecoderModel } from './decoder-model.js'
import { type GenerateOptions, generate } from './generate.js'
import { StopSearch } from './stop-search.js'
import { TextStream } from './text-stream.js'
import type { TextTokenizer } from './text-tokenizer.js'

/** As for token ids, and where the text ends. */
export interface GenerateTextOptions extends GenerateOptions {
  /** The text ends before the first of these that the model writes, wherever its tokens begin and end. The prompt's text does not count. */
  readonly stop?: readonly string[]
}

/**
 * Continues a text, see `generate`, in pieces of whole characters; joined they are the continuation. No part of a stop string is given out:
 * text that may become one is held back until it cannot, or until the tokens end.
 * @param prompt at least one token; special tokens in it are taken as such
 * @throws InvalidInputError as `generate` does, and for an unusable stop string; the signal's reason when it aborts
 */
export async function* generateText(
  model: DecoderModel,
  tokenizer: Pick<TextTokenizer, 'encode' | 'decode'>,
  prompt: string,
  { stop = [], ...options }: GenerateTextOptions,
): AsyncGenerator<string, void, undefined> {
  const search = new StopSearch(stop)
  const ids = tokenizer.encode(prompt)
  const stream = new TextStream(tokenizer, ids)
  for await (const id of generate(model, ids, options)) {
    const piece = search.push(stream.push(id))
    if (piece !== '') yield piece
    if (search.found) return
  }
  const rest = search.push(stream.end()) + search.end()
  if (rest !== '') yield rest
}
