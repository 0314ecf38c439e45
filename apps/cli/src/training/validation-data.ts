import type { PunctuationTable } from '@phsa/core'
import type { TextTokenizer } from '@phsa/model'
import { heldOutBatches, TextDataset, type ValidationOptions } from '@phsa/trainer'
import { readText } from '../read-text.js'
import { UsageError } from '../usage-error.js'

/** `--validation` and the options that go with it. */
export interface ValidationChoice {
  readonly validation?: string
  readonly validationEvery?: number
  readonly validationWindows?: number
  readonly sequenceTokens: number
}

/** Windows that are measured unless told. */
const USUAL_WINDOWS = 8

/**
 * The text of `--validation` as the trainer measures it; undefined without one.
 * @throws UsageError when it is shorter than a window, and what `readText` throws
 */
export async function validationData(
  { validation: file, validationEvery: every, validationWindows = USUAL_WINDOWS, sequenceTokens: tokens }: ValidationChoice,
  { tokenizer, punctuation }: { tokenizer: TextTokenizer; punctuation: PunctuationTable },
): Promise<ValidationOptions | undefined> {
  if (file === undefined) return undefined
  const data = await TextDataset.fromText(await readText(file), tokenizer)
  const windows = Math.min(validationWindows, Math.floor(data.totalTokens / tokens))
  if (windows === 0) {
    throw new UsageError(
      `${file} has ${data.totalTokens} tokens, less than one window of ${tokens}; give a longer text, or a smaller --sequence-tokens.`,
    )
  }
  return { batches: heldOutBatches(data, { windows, tokens, punctuation }), ...(every === undefined ? {} : { every }) }
}
