import { describe, expect, test } from 'vitest'
import { InvalidConfigError, PUNCTUATION_SET_NAMES, type PunctuationSet, punctuationTest } from '../src/index.js'
import { errorOf } from './error-of.js'

const ascii = Array.from({ length: 128 }, (_, code) => String.fromCharCode(code))
const members = (set: PunctuationSet, characters: Iterable<string>) => [...characters].filter(punctuationTest(set)).join('')

describe('punctuationTest', () => {
  test('en is the 32 visible ASCII characters that are no letters or digits', () => {
    const visible = ascii.filter((character) => /^[!-~]$/.test(character) && !/[A-Za-z0-9]/.test(character))
    expect(visible).toHaveLength(32)
    expect(members('en', ascii)).toBe(visible.join(''))
    expect(members('en', '。“…')).toBe('')
  })

  test('en+zh adds the CJK marks of the specification', () => {
    const added = '，。、；：？！“”‘’（）《》〈〉【】『』「」—…·～'
    expect(members('en+zh', added)).toBe(added)
    expect(members('en+zh', ascii)).toBe(members('en', ascii))
    expect(members('en+zh', '中A¡')).toBe('')
  })

  test('clause is the ends of clauses and their CJK twins', () => {
    expect(members('clause', ascii)).toBe('!,.:;?')
    expect(members('clause', '。，；：？！、“')).toBe('。，；：？！')
  })

  test('unicode is the category P: no currency, no mathematics', () => {
    expect(members('unicode', '.¡»—。「')).toBe('.¡»—。「')
    expect(members('unicode', '$+<=>^`|~€')).toBe('')
  })

  test.each([
    ['a string', '.𝄞'],
    ['a list', ['.', '𝄞']],
    ['a set', new Set(['.', '𝄞'])],
  ])('%s of one’s own', (_, custom) => {
    expect(members({ custom }, '.,𝄞')).toBe('.𝄞')
  })

  test.each([
    ['an unknown name', 'de', /punctuation is "de"; it must be en, en\+zh, clause, unicode, or \{ custom/],
    ['nothing', null, /punctuation is null/],
    ['an empty set', { custom: '' }, /has no characters/],
    ['no set', { custom: 5 }, /has no characters/],
    ['a word', { custom: ['.', '..'] }, /has "\.\.", which is not one character/],
  ])('refuses %s', (_, set, message) => {
    const error = errorOf(() => punctuationTest(set as PunctuationSet))
    expect(error).toBeInstanceOf(InvalidConfigError)
    expect(error.message).toMatch(message)
  })

  test('every name there is has a test', () => {
    for (const name of PUNCTUATION_SET_NAMES) expect(punctuationTest(name)('!')).toBe(true)
  })
})
