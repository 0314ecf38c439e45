import { describe, expect, test } from 'vitest'
import { decodeVocabulary, InvalidConfigError } from '../src/index.js'
import { errorOf } from './error-of.js'

const texts = (tokenizer: unknown) => decodeVocabulary(tokenizer).map(({ text }) => text)
const vocabulary = (...pieces: string[]) => Object.fromEntries(pieces.map((piece, id) => [piece, id]))

describe('decodeVocabulary', () => {
  test('byte-level BPE: bytes behind printable characters, partial UTF-8 without a text', () => {
    // Ġ is a space, Ċ a newline; ã Ģ Ĥ are the three bytes of 。; © is the byte a9, one half of é.
    const vocab = vocabulary('Ġ.', '.Ċ', 'ãĢĤ', 'ãĢ', '©', 'Ã©', 'ï»¿')
    expect(texts({ model: { type: 'BPE', vocab }, decoder: { type: 'ByteLevel' } })).toEqual([
      ' .',
      '.\n',
      '。',
      undefined,
      undefined,
      'é',
      '\ufeff',
    ])
  })

  test('byte-level BPE: all 256 bytes have a character of their own', () => {
    const printable = Array.from({ length: 0x144 }, (_, code) => String.fromCodePoint(code)).filter(
      (character) => /^[!-~¡-¬®-ÿ]$/u.test(character) || (character >= 'Ā' && character <= 'Ń'),
    )
    expect(printable).toHaveLength(256)
    const decoded = decodeVocabulary({ model: { vocab: vocabulary(...printable) }, decoder: { type: 'ByteLevel' } })
    const single = decoded.filter(({ text }) => text !== undefined).map(({ text }) => text)
    // Exactly the ASCII bytes are valid UTF-8 alone, each once.
    expect(single.sort()).toEqual(Array.from({ length: 128 }, (_, code) => String.fromCharCode(code)).sort())
  })

  test('byte-level BPE: a piece outside the alphabet is its own text', () => {
    expect(texts({ model: { vocab: vocabulary('▁a', '。') }, decoder: { type: 'ByteLevel' } })).toEqual(['▁a', '。'])
  })

  test('sentencepiece as Llama has it: ▁ is a space, a byte token is its byte', () => {
    const decoder = {
      type: 'Sequence',
      decoders: [
        { type: 'Replace', pattern: { String: '▁' }, content: ' ' },
        { type: 'ByteFallback' },
        { type: 'Fuse' },
        { type: 'Strip', content: ' ', start: 1, stop: 0 },
      ],
    }
    const vocab = vocabulary('▁.', '<0x2E>', '<0xE3>', '▁▁', '<0x2E>.')
    expect(texts({ model: { type: 'BPE', vocab, byte_fallback: true }, decoder })).toEqual([' .', '.', undefined, '  ', '<0x2E>.'])
  })

  test('Unigram: ids are indices; its unknown token is special', () => {
    const vocab = [
      ['<unk>', 0],
      ['▁,', -3.5],
      [',', -4],
    ]
    expect(decodeVocabulary({ model: { type: 'Unigram', unk_id: 0, vocab }, decoder: { type: 'Metaspace', replacement: '▁' } })).toEqual([
      { id: 0, text: '<unk>', special: true },
      { id: 1, text: ' ,', special: false },
      { id: 2, text: ',', special: false },
    ])
  })

  test('WordPiece: the continuation prefix is no text', () => {
    expect(
      texts({ model: { type: 'WordPiece', vocab: vocabulary('##!', '#', 'a##') }, decoder: { type: 'WordPiece', prefix: '##' } }),
    ).toEqual(['!', '#', 'a##'])
  })

  test('word-end suffixes are white space, a replacement by expression is understood', () => {
    expect(texts({ model: { vocab: vocabulary('.</w>') }, decoder: { type: 'BPEDecoder' } })).toEqual(['. '])
    const replace = { type: 'Replace', pattern: { Regex: '_+' }, content: '$&' }
    expect(texts({ model: { vocab: vocabulary('a__b') }, decoder: replace })).toEqual(['a$&b'])
  })

  test('without a decoder a piece is its text', () => {
    expect(texts({ model: { vocab: vocabulary('Ġ.', '##') }, decoder: null })).toEqual(['Ġ.', '##'])
  })

  test('added tokens are text, take over their id, and are special where marked; padding and unknown tokens are', () => {
    const tokens = decodeVocabulary({
      model: { vocab: vocabulary('!', 'Ġ', '?'), unk_token: '?' },
      decoder: { type: 'ByteLevel' },
      padding: { pad_id: 0 },
      added_tokens: [
        { id: 4, content: '<|end|>', special: true },
        { id: 1, content: '...', special: false },
      ],
    })
    expect(tokens).toEqual([
      { id: 0, text: '!', special: true },
      { id: 1, text: '...', special: false },
      { id: 2, text: '?', special: true },
      { id: 4, text: '<|end|>', special: true },
    ])
  })

  const model = { vocab: {} }
  test.each([
    ['tokenizer', 'text', /tokenizer is not an object; pass the parsed contents of tokenizer.json/],
    ['tokenizer', null, /tokenizer is not an object/],
    ['model', { vocab: {} }, /model is missing/],
    ['model.vocab', { model: {} }, /model.vocab is missing/],
    ['model.vocab', { model: { vocab: { a: 'b' } } }, /maps "a" to "b"/],
    ['model.vocab', { model: { vocab: { a: -1 } } }, /maps "a" to -1/],
    ['model.vocab', { model: { vocab: [[5, 0]] } }, /maps 5 to 0/],
    ['added_tokens', { model, added_tokens: {} }, /added_tokens is not a list/],
    ['added_tokens', { model, added_tokens: [{ id: 3 }] }, /added_tokens\[0\] has id 3 and content missing; it needs both/],
    ['added_tokens[1]', { model, added_tokens: [{ id: 3, content: 'x' }, 7] }, /added_tokens\[1\] is not an object/],
    ['decoder', { model, decoder: { type: 'CTC' } }, /decoder.type is "CTC"; known are ByteLevel/],
    ['decoder', { model, decoder: 'ByteLevel' }, /decoder is not an object/],
    ['decoder', { model, decoder: { type: 'Sequence' } }, /Sequence without a list/],
    ['decoder', { model, decoder: { type: 'Replace', pattern: 'x' } }, /pattern "x"; it must be/],
    [
      'model.vocab',
      { model: { vocab: { a: 2 ** 24 } } },
      /maps "a" to 16777216; each entry is a piece and its id, an integer below 16777216/,
    ],
    ['added_tokens', { model, added_tokens: [{ id: 1e12, content: 'x' }] }, /id 1000000000000 and content "x"/],
    ['decoder', { model, decoder: { type: 'Replace', pattern: { Regex: '(' } } }, /expression "\(": Invalid regular expression/],
    [
      'decoder',
      { model, decoder: { type: 'Metaspace', replacement: nested(10_000) } },
      /decoder.replacement is \[\[\[\[…\]\]\]\]; it must be text/,
    ],
    ['decoder', { model, decoder: decoderIn(9) }, /decoder is nested deeper than 8 Sequences/],
  ])('an error names %s as what is wrong', (setting, tokenizer, message) => {
    const error = errorOf(() => decodeVocabulary(tokenizer))
    expect(error).toBeInstanceOf(InvalidConfigError)
    expect(error).toMatchObject({ setting })
    expect(error.message).toMatch(message)
  })
})

/** A list in a list in a list. */
function nested(depth: number): unknown {
  let value: unknown = []
  for (let level = 1; level < depth; level++) value = [value]
  return value
}

function decoderIn(sequences: number): unknown {
  let decoder: unknown = { type: 'Fuse' }
  for (let level = 0; level < sequences; level++) decoder = { type: 'Sequence', decoders: [decoder] }
  return decoder
}
