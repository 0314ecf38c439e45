import { readFileSync } from 'node:fs'
import { isPhsaError } from '@phsa/core'
import { expect, test } from 'vitest'
import { type ModelFiles, renderChat, TextTokenizer } from '../src/index.js'

const folder = new URL('../../../fixtures/tokenizer-8k/', import.meta.url)
const whole = JSON.parse(readFileSync(new URL('tokenizer.json', folder), 'utf8'))
const settings = readFileSync(new URL('tokenizer_config.json', folder))

type Json = Record<string, unknown>
const vocab = { a: 0, b: 1, ab: 2 }
const withModel = (change: Json) => ({ ...whole, model: { type: 'BPE', vocab, merges: ['a b'], ...change }, added_tokens: [] })
const withPart = (name: string, part: unknown) => ({ ...whole, [name]: part })
const deep = JSON.parse('['.repeat(1e5) + ']'.repeat(1e5))

test.each<[unknown, RegExp]>([
  [[], /it holds no tokenizer/],
  [{ model: [] }, /it holds no tokenizer/],
  [withModel({ type: 'Nonsense' }), /model.type is "Nonsense"; known are BPE, Unigram, WordPiece/],
  [withModel({ type: 'Unigram' }), /model.type is "Unigram", and model.vocab is no list/],
  [withModel({ vocab: [['a', 0]] }), /model.type is "BPE", and model.vocab is a list/],
  [withModel({ vocab: undefined }), /model.vocab is neither/],
  [withModel({ vocab: { a: 4_294_967_294 } }), /model.vocab gives "a" the id 4294967294; ids are integers from 0 to 16777215/],
  [withModel({ vocab: { a: 0.5 } }), /the id 0.5/],
  [withModel({ merges: undefined }), /model.merges is missing/],
  [withModel({ merges: [7] }), /model.merges has 7/],
  [withModel({ merges: ['ab'] }), /model.merges has "ab"; a merge is two pieces/],
  [withModel({ merges: [['a', 'b', 'c']] }), /model.merges has \["a","b","c"\]/],
  [withModel({ unk_token: '<unk>' }), /model.unk_token is "<unk>", which is not in model.vocab/],
  [withModel({ type: 'Unigram', vocab: [['a']] }), /model.vocab has \["a"\]; each entry is a piece and its score/],
  [withModel({ type: 'Unigram', vocab: [['a', -1]], unk_id: 1 }), /model.unk_id is 1; it must be an index/],
  [{ ...whole, added_tokens: {} }, /added_tokens is \{\}; it must be a list/],
  [{ ...whole, added_tokens: [{ id: 1e12, content: 'x' }] }, /added_tokens\[0\] is .*1000000000000/],
  [{ ...whole, added_tokens: [{ id: 1, content: '' }] }, /added_tokens\[0\] is/],
  [withPart('pre_tokenizer', { type: 'FixedLength', length: 0 }), /pre_tokenizer.length is 0; it must be an integer from 1/],
  [withPart('decoder', { type: 'Strip', content: ' ', start: 1e15 }), /decoder.start is 1000000000000000/],
  [withPart('normalizer', { type: 'Prepend', prepend: 7 }), /normalizer.prepend is 7; it must be text/],
  [
    withPart('normalizer', { type: 'Sequence', normalizers: [{ type: 'NFC' }, 7] }),
    /normalizer.normalizers\[1\] is 7; it must be an object or null/,
  ],
  [withPart('normalizer', { type: 'Sequence', normalizers: {} }), /normalizer.normalizers is \{\}; it must be a list/],
  [withPart('normalizer', { type: 'Nonsense' }), /cannot read it: Unknown Normalizer type/],
  [withPart('normalizer', deep), /nested deeper than 64/],
  [
    withPart('pre_tokenizer', { type: 'Split', pattern: { Regex: '(' }, behavior: 'Isolated' }),
    /cannot read it: Invalid regular expression/,
  ],
])('a damaged file is refused with its part (%#)', (json, message) => {
  const refusal = () => TextTokenizer.fromJson(json, {}, 'some/tokenizer.json')
  expect(refusal).toThrow(message)
  expect(refusal).toThrow(/^some\/tokenizer.json: /)
})

test('settings beside it must be an object', () => {
  expect(() => TextTokenizer.fromJson(whole, [], 'some/tokenizer.json')).toThrow(/some\/tokenizer.json: the settings beside it/)
})

test('a part that is absent counts as null', () => {
  const bare = TextTokenizer.fromJson({ model: { type: 'BPE', vocab, merges: ['a b'] } })
  expect([...bare.encode('aba')]).toEqual([2, 0])
  expect(bare).toMatchObject({ vocabSize: 3, eosTokenId: undefined })
})

test('text that has no id is an error, not the id 0', () => {
  const tokenizer = TextTokenizer.fromJson(
    { model: { type: 'WordPiece', vocab, unk_token: null, continuing_subword_prefix: '##' } },
    {},
    'some/tokenizer.json',
  )
  let thrown: unknown
  try {
    tokenizer.encode('c')
  } catch (error) {
    thrown = error
  }
  expect(isPhsaError(thrown, 'invalid-file')).toBe(true)
  expect(String(thrown)).toMatch(/some\/tokenizer.json: it has no id for a part of the text/)
})

test('the library failing on a text names the file', () => {
  const tokenizer = TextTokenizer.fromJson(withPart('pre_tokenizer', { type: 'Digits' }), {}, 'some/tokenizer.json')
  expect(tokenizer.encode('a1').length).toBeGreaterThan(0)
  const broken = TextTokenizer.fromJson(withPart('decoder', { type: 'Sequence', decoders: [null] }), {}, 'some/tokenizer.json')
  expect(() => broken.decode([3])).toThrow(/some\/tokenizer.json: @huggingface\/tokenizers cannot decode with it/)
})

test('chat_template.jinja comes before the template of tokenizer_config.json', async () => {
  const contents: Record<string, Uint8Array> = {
    'tokenizer.json': new TextEncoder().encode(JSON.stringify(whole)),
    'tokenizer_config.json': settings,
    'chat_template.jinja': new TextEncoder().encode('{% for message in messages %}[{{ message.content }}]{% endfor %}'),
  }
  const files: ModelFiles = {
    label: 'memory',
    size: async (name) => contents[name]?.length,
    read: async (name, begin, end) => contents[name].slice(begin, end),
    close: async () => undefined,
  }
  const messages = [
    { role: 'user', content: 'a' },
    { role: 'assistant', content: 'b' },
  ]
  const tokenizer = await TextTokenizer.fromFiles(files)
  expect(renderChat(tokenizer!, messages)).toBe('[a][b]')
  expect(tokenizer?.eosTokenId).toBe(0)
  delete contents['chat_template.jinja']
  expect(renderChat((await TextTokenizer.fromFiles(files))!, messages)).toMatch(/^<\|im_start\|>user\na<\|im_end\|>/)
})
