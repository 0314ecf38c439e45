import { mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { PunctuationTable } from '@phsa/core'

/** One of so many tokens counts as punctuation, as in English prose. */
const MARKS = 6
/** Ids of one topic lie so far apart, see `topicBatch`: all of them have to have their marks. */
const TOPICS = 64

/** Writes a tokenizer whose token N is the word ` tN`, so that a client can tell tokens by the text. @returns its folder, a new one */
export function writeServeTokenizer(vocabSize: number): string {
  const folder = mkdtempSync(join(tmpdir(), 'bench-serve-'))
  const byteLevel = { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true }
  // Ġ is a blank in the alphabet of bytes.
  const vocab = Object.fromEntries(Array.from({ length: vocabSize }, (_, id) => [`Ġt${id}`, id]))
  const tokenizer = {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: [],
    normalizer: null,
    pre_tokenizer: byteLevel,
    post_processor: null,
    decoder: byteLevel,
    model: { type: 'BPE', vocab, merges: [] },
  }
  writeFileSync(join(folder, 'tokenizer.json'), JSON.stringify(tokenizer))
  writeFileSync(join(folder, 'tokenizer_config.json'), '{}')
  return folder
}

/** Which tokens count as punctuation. */
export function servePunctuation(vocabSize: number): PunctuationTable {
  const ids = Array.from({ length: vocabSize }, (_, id) => id).filter((id) => Math.floor(id / TOPICS) % MARKS === 0)
  return new PunctuationTable(new Map(ids.map((id) => [id, '.'])), vocabSize)
}
