import { expect, test } from 'vitest'
import { inWords } from '../src/in-words.js'

test.each([
  [undefined, 'missing'],
  [null, 'null'],
  [Number.NaN, 'NaN'],
  ['a"b', '"a\\"b"'],
  [[1, [true, { a: null }]], '[1,[true,{"a":null}]]'],
  [[[[[1]]]], '[[[[…]]]]'],
  [{ a: { b: { c: { d: 1 } } } }, '{"a":{"b":{"c":{…}}}}'],
  [Array(20).fill(0), `[${'0,'.repeat(16)}…]`],
  ['x'.repeat(130), `"${'x'.repeat(120)}…"`],
])('%o', (value, text) => {
  expect(inWords(value)).toBe(text)
})

test('nothing that JSON can hold is too deep', () => {
  expect(inWords(JSON.parse('['.repeat(200_000) + ']'.repeat(200_000)))).toBe('[[[[…]]]]')
})
