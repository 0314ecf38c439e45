import { splitDocuments } from '@phsa/trainer'
import { UsageError } from '../usage-error.js'

/** Encodes text; `TextTokenizer` does. */
interface Encoder {
  encode(text: string): Int32Array
}

/**
 * Passages of exactly `length` tokens, none across two documents, spread evenly over the text.
 * @throws UsageError when the text has fewer
 */
export function heldOutPassages(text: string, tokenizer: Encoder, { count, length }: { count: number; length: number }): Int32Array[] {
  const passages = splitDocuments(text).flatMap((document) => {
    const ids = tokenizer.encode(document)
    return Array.from({ length: Math.floor(ids.length / length) }, (_, index) => ids.slice(index * length, (index + 1) * length))
  })
  if (passages.length < count) throw new UsageError(`the text holds ${passages.length} passages of ${length} tokens; ${count} are needed.`)
  return Array.from({ length: count }, (_, index) => passages[Math.floor((index * passages.length) / count)])
}
