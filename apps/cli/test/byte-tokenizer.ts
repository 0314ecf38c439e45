import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

/** Printable characters stand for themselves in GPT-2's alphabet of bytes, the others for characters from U+0100 on. */
function byteAlphabet(): string[] {
  const isPrintable = (byte: number) => (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174
  let next = 256
  return Array.from({ length: 256 }, (_, byte) => String.fromCodePoint(isPrintable(byte) ? byte : next++))
}

/** Writes the tokenizer of a token a byte, so that a model that is trained in a test spends no time on thousands of words. */
export function writeByteTokenizer(folder: string): string {
  mkdirSync(folder, { recursive: true })
  const byteLevel = { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true }
  const endOfText = {
    id: 256,
    content: '<|endoftext|>',
    single_word: false,
    lstrip: false,
    rstrip: false,
    normalized: false,
    special: true,
  }
  const tokenizer = {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: [endOfText],
    normalizer: null,
    pre_tokenizer: byteLevel,
    post_processor: null,
    decoder: byteLevel,
    model: { type: 'BPE', vocab: Object.fromEntries(byteAlphabet().map((character, byte) => [character, byte])), merges: [] },
  }
  writeFileSync(join(folder, 'tokenizer.json'), JSON.stringify(tokenizer))
  writeFileSync(join(folder, 'tokenizer_config.json'), JSON.stringify({ eos_token: endOfText.content }))
  return folder
}
