import { TextStream, type TextTokenizer } from '@phsa/model'

/** Text of each token, so that all of them joined are the text: a character that several tokens share stands at the last of them. */
export function tokenTexts(tokenizer: TextTokenizer, ids: Int32Array): string[] {
  const stream = new TextStream(tokenizer)
  const texts = Array.from(ids, (id) => stream.push(id))
  if (texts.length > 0) texts[texts.length - 1] += stream.end()
  return texts
}
