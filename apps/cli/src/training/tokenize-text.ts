import type { TextTokenizer } from '@phsa/model'
import { TextDataset } from '@phsa/trainer'
import { formatCount } from '../terminal/format.js'
import { startProgress } from '../terminal/progress.js'

/** Tokenizes a text of many documents behind a progress bar. */
export async function tokenizeText(text: string, tokenizer: TextTokenizer): Promise<TextDataset> {
  let progress: ReturnType<typeof startProgress> | undefined
  try {
    return await TextDataset.fromText(text, tokenizer, {
      onProgress: ({ documents, totalDocuments, tokens }) => {
        progress ??= startProgress({ label: 'tokenizing', total: totalDocuments })
        progress.update(documents, `${formatCount(tokens)} tokens`)
      },
    })
  } finally {
    progress?.stop()
  }
}
