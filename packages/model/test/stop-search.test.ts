import { expect, test } from 'vitest'
import { StopSearch } from '../src/stop-search.js'

function cut(stops: readonly string[], pieces: readonly string[]): string[] {
  const search = new StopSearch(stops)
  return [...pieces.map((piece) => search.push(piece)), search.end()]
}

test('a stop string over several pieces is cut exactly, and no part of it is given out', () => {
  expect(cut(['STOP'], ['one S', 'TO', 'P two', ' three'])).toEqual(['one ', '', '', '', ''])
})

test('what only began like a stop string is given out as soon as that is certain', () => {
  expect(cut(['STOP'], ['a ST', 'S', 'T', 'x'])).toEqual(['a ', 'ST', '', 'STx', ''])
  expect(cut(['aab'], ['aa', 'a', 'a', 'b'])).toEqual(['', 'a', 'a', '', ''])
})

test('the end of the text gives out what was held back', () => {
  expect(cut(['STOP'], ['all ST'])).toEqual(['all ', 'ST'])
})

test('without stop strings nothing is held back', () => {
  expect(cut([], ['a', 'b'])).toEqual(['a', 'b', ''])
})

test('where pieces end does not matter: the stop string that is complete first counts', () => {
  const text = 'xx abcd 🙂🙃 yy'
  for (const stops of [['abcd', 'b'], ['bc', 'abc'], ['🙃'], ['cd 🙂', 'd'], ['zz'], ['yyy']]) {
    const whole = cut(stops, [text]).join('')
    expect(cut(stops, [...text]).join('')).toBe(whole)
    expect(cut(stops, text.match(/.{1,3}/gsu)!).join('')).toBe(whole)
  }
  expect(cut(['abcd', 'b'], [text]).join('')).toBe('xx a')
  expect(cut(['bc', 'abc'], [text]).join('')).toBe('xx ')
})

test('unusable stop strings are refused by their place', () => {
  expect(() => new StopSearch(['a', ''])).toThrow(/stop\[1\] is empty/)
  expect(() => new StopSearch(['🙂'.slice(0, 1)])).toThrow(/stop\[0\] holds half of a surrogate pair/)
})
