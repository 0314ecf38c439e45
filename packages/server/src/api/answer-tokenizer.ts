import type { TextTokenizer } from '@phsa/model'

/** Decodes what a model writes: ids that pad its vocabulary beyond the tokenizer's are no text, and no error of the client's. */
export function answerTokenizer(tokenizer: TextTokenizer): Pick<TextTokenizer, 'decode'> {
  return { decode: (ids) => tokenizer.decode(Array.from(ids).filter((id) => id < tokenizer.vocabSize)) }
}
