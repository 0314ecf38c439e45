import type { PunctuationTable } from '@phsa/core'
import { type LoadedModel, type LoadModelOptions, loadModel, type TextTokenizer } from '@phsa/model'
import { UsageError } from './usage-error.js'

/** A model folder that can read text. */
export interface TextModel extends LoadedModel {
  readonly tokenizer: TextTokenizer
  readonly punctuation: PunctuationTable
}

/** Loads the folder of `--model`. The caller disposes its model. @throws UsageError when it has no tokenizer, and what `loadModel` throws */
export async function loadTextModel(folder: string, options: LoadModelOptions): Promise<TextModel> {
  const { model, tokenizer, punctuation, generation } = await loadModel(folder, options)
  if (tokenizer && punctuation) return { model, tokenizer, punctuation, generation }
  model.dispose()
  throw new UsageError(`${folder} has no tokenizer.json, which text is read with; copy the model's tokenizer into it.`)
}
