import { expect, test } from 'vitest'
import { TextStream } from '../src/text-stream.js'

/** Bytes as tokens: UTF-8, like the bytes of a byte-level tokenizer. */
const bytes = { decode: (ids: ArrayLike<number>) => new TextDecoder().decode(Uint8Array.from(Array.from(ids))) }

test('characters come whole, however their bytes are split', () => {
  const stream = new TextStream(bytes)
  const pieces = [...new TextEncoder().encode('aé—z')].map((byte) => stream.push(byte))
  expect(pieces).toEqual(['a', '', 'é', '', '', '—', 'z'])
  expect(stream.end()).toBe('')
})

test('what stays unfinished comes at the end as it is', () => {
  const stream = new TextStream(bytes)
  expect(stream.push(0x61)).toBe('a')
  expect(stream.push(0xc3)).toBe('')
  expect(stream.end()).toBe('\u{FFFD}')
})
