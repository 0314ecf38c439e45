import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { gunzipSync } from 'node:zlib'
import { PunctuationTable, RandomStream } from '@phsa/core'
import { beforeAll, describe, expect, test } from 'vitest'
import { renderChat, TextStream, TextTokenizer } from '../src/index.js'

const folder = fileURLToPath(new URL('../../../fixtures/tokenizer-8k', import.meta.url))
const text = gunzipSync(readFileSync(new URL('../../../fixtures/text/valid.txt.gz', import.meta.url))).toString('utf8')
const mixed = "Ünï 漢字, 🙂🇩🇪\t\r\n  \u00a0x\u0301 <|im_end|> 12345 don't"

let tokenizer: TextTokenizer
beforeAll(async () => {
  tokenizer = await TextTokenizer.fromFolder(folder)
})

interface BpeFile {
  model: { vocab: Record<string, number>; merges: (string | [string, string])[] }
}

/** Byte-level BPE by its definition: bytes as printable characters, then always the merge of lowest rank. */
function naiveBpe({ model }: BpeFile): (word: string) => number[] {
  const printable = (byte: number) => (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174
  const hidden = Array.from({ length: 256 }, (_, byte) => byte).filter((byte) => !printable(byte))
  const character = (byte: number) => String.fromCharCode(printable(byte) ? byte : 256 + hidden.indexOf(byte))
  const ranks = new Map(model.merges.map((merge, rank) => [typeof merge === 'string' ? merge : merge.join(' '), rank]))
  return (word) => {
    const parts = [...new TextEncoder().encode(word)].map(character)
    for (;;) {
      const pairs = parts.slice(1).map((part, index) => ranks.get(`${parts[index]} ${part}`) ?? Number.POSITIVE_INFINITY)
      const best = Math.min(...pairs, Number.POSITIVE_INFINITY)
      if (best === Number.POSITIVE_INFINITY) return parts.map((part) => model.vocab[part])
      const at = pairs.indexOf(best)
      parts.splice(at, 2, parts[at] + parts[at + 1])
    }
  }
}

test('encoding is byte-level BPE: the ids of each word follow from vocabulary and merges', () => {
  const encodeWord = naiveBpe(tokenizer.json as BpeFile)
  // The pre-tokenizer's own expression (Qwen's): these pieces hold no contraction, so the plain form of it will do.
  const sample = `${text.slice(0, 20_000).replaceAll("'", '')} 漢字 🙂 naïve`
  const words = sample.match(/[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+/gu)!
  expect([...tokenizer.encode(sample)]).toEqual(words.flatMap(encodeWord))
})

test('real text, other scripts and special tokens survive the round trip', () => {
  expect(tokenizer.decode(tokenizer.encode(text))).toBe(text)
  // NFC composes the accent, as tokenizer.json asks.
  expect(tokenizer.decode(tokenizer.encode(mixed))).toBe(mixed.normalize('NFC'))
  expect([...tokenizer.encode('<|im_end|>')]).toEqual([2])
  expect([...tokenizer.encode('')]).toEqual([])
  expect(tokenizer.decode([])).toBe('')
})

test('sizes and named tokens', () => {
  expect(tokenizer).toMatchObject({ vocabSize: 8192, eosTokenId: 0, padTokenId: 0 })
  expect(tokenizer.tokenId('<|im_start|>')).toBe(1)
  expect(tokenizer.tokenId('no such token')).toBeUndefined()
})

test('punctuation tokens come from the same file', () => {
  const table = PunctuationTable.fromTokenizer(tokenizer.json)
  expect(table.marks(tokenizer.encode('a.'))).toEqual(Uint8Array.of(0, 1))
})

test('a stream gives whole characters only, and all of them', () => {
  const stream = new TextStream(tokenizer)
  const pieces = [...tokenizer.encode(mixed)].map((id) => stream.push(id))
  expect(pieces.join('') + stream.end()).toBe(mixed.normalize('NFC'))
  expect(pieces.every((piece) => !piece.includes('\ufffd'))).toBe(true)
  expect(pieces.filter((piece) => piece === '').length).toBeGreaterThan(3)

  const broken = tokenizer.encode('🙂')[0]
  expect(stream.push(broken)).toBe('')
  expect(stream.end()).toBe('\ufffd')
})

test('an unknown id is named', () => {
  expect(() => tokenizer.decode([3, 9000])).toThrow(/9000 is no token id of this tokenizer; it has 0 to 8191/)
})

test('a conversation by the chat template', () => {
  const messages = [{ role: 'user', content: 'Hi' }]
  expect(renderChat(tokenizer, messages)).toBe('<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n')
  expect(renderChat(tokenizer, messages, { addGenerationPrompt: false })).toBe('<|im_start|>user\nHi<|im_end|>\n')
})

test('a named template, and errors of templates', () => {
  const withTemplate = (chat_template: unknown) =>
    TextTokenizer.fromJson(tokenizer.json, { chat_template, eos_token: { content: '<|im_end|>' } })
  const named = [{ name: 'default', template: '{{ messages[0].content }}{{ eos_token }}{{ mood }}' }]
  expect(renderChat(withTemplate(named), [{ role: 'user', content: 'x' }], { variables: { mood: '!' } })).toBe('x<|im_end|>!')
  const several = [...named, { name: 'tool_use', template: 'tools' }]
  expect(renderChat(withTemplate(several), [], { template: 'tool_use' })).toBe('tools')
  expect(() => renderChat(withTemplate(several), [], { template: 'rag' })).toThrow(
    /tokenizer.json: beside it is no chat template named "rag"; there are \["default","tool_use"\]/,
  )
  expect(() => renderChat(withTemplate('x'), [], { template: 'rag' })).toThrow(/named "rag"; there are \["default"\]/)
  expect(() => renderChat(withTemplate([7, { name: 'default', template: 7 }]), [])).toThrow(/named "default"; there are \[7,"default"\]/)
  expect(() => renderChat(withTemplate(undefined), [])).toThrow(/tokenizer.json: beside it is no chat template/)
  expect(() => renderChat(withTemplate('{% if %}'), [])).toThrow(/cannot be parsed/)
  expect(() => renderChat(withTemplate("{{ raise_exception('no system role') }}"), [])).toThrow(/refuses these messages: .*no system role/)
})

test('what is no tokenizer is refused by name', async () => {
  expect(() => TextTokenizer.fromJson({}, {}, 'some/tokenizer.json')).toThrow(/some\/tokenizer.json: it holds no tokenizer/)
  await expect(TextTokenizer.fromFolder(fileURLToPath(new URL('.', import.meta.url)))).rejects.toThrow(/there is no tokenizer.json/)
})

test('a stream keeps the blanks of a tokenizer that drops the first one of a text', () => {
  const metaspace = { type: 'Metaspace', replacement: '▁', prepend_scheme: 'always', split: true }
  const vocab = { '<unk>': 0, '▁a': 1, '▁b': 2, c: 3, '▁': 4, a: 5, b: 6 }
  const merges = [
    ['▁', 'a'],
    ['▁', 'b'],
  ]
  const model = { type: 'BPE', unk_token: '<unk>', vocab, merges }
  const sentencePiece = TextTokenizer.fromJson({
    added_tokens: [],
    normalizer: null,
    pre_tokenizer: metaspace,
    post_processor: null,
    decoder: metaspace,
    model,
  })
  for (const words of ['a b ac', 'a  b   a']) {
    const ids = sentencePiece.encode(words)
    const stream = new TextStream(sentencePiece)
    expect(Array.from(ids, (id) => stream.push(id)).join('') + stream.end()).toBe(sentencePiece.decode(ids))
    expect(sentencePiece.decode(ids)).toBe(words)
    // Continuing a prompt keeps the blank between both.
    const continuation = new TextStream(sentencePiece, ids.subarray(0, 1))
    expect(Array.from(ids.subarray(1), (id) => continuation.push(id)).join('')).toBe(
      words.slice(sentencePiece.decode(ids.subarray(0, 1)).length),
    )
  }
})

describe('a stream of bytes', () => {
  /** Bytes as tokens, like those of a byte-level tokenizer. */
  const bytes = { decode: (ids: ArrayLike<number>) => new TextDecoder().decode(Uint8Array.from(Array.from(ids))) }

  test('gives characters whole, however their bytes are split', () => {
    const stream = new TextStream(bytes)
    const pieces = [...new TextEncoder().encode('aé—z')].map((byte) => stream.push(byte))
    expect(pieces).toEqual(['a', '', 'é', '', '', '—', 'z'])
    expect(stream.end()).toBe('')
  })

  test('is what all ids decode to, also where many bytes are broken, and takes no longer for it', () => {
    const random = new RandomStream(5)
    let longest = 0
    const counted = {
      decode: (ids: ArrayLike<number>) => {
        longest = Math.max(longest, ids.length)
        return bytes.decode(ids)
      },
    }
    for (let round = 0; round < 200; round++) {
      const some = [[0x80], [0xc3], [0xf0, 0x9f, 0x99, 0x82], [0xe2, 0x82], [0xef, 0xbf, 0xbd], [0x61]].filter(() => random.below(2) === 0)
      const ids = Array.from({ length: 100 }, () => some[random.below(some.length)] ?? [0x80]).flat()
      const stream = new TextStream(counted)
      expect(ids.map((id) => stream.push(id)).join('') + stream.end()).toBe(bytes.decode(ids))
    }
    expect(longest).toBeLessThan(80)
  })

  test('gives what stays unfinished at the end as it is', () => {
    const stream = new TextStream(bytes)
    expect(stream.push(0x61)).toBe('a')
    expect(stream.push(0xc3)).toBe('')
    expect(stream.end()).toBe('\u{FFFD}')
  })
})
