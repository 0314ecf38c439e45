import { PunctuationTable } from '@phsa/core'
import { expect, test } from 'vitest'
import { nextTokenBatch, tokenBatch } from '../src/index.js'
import { requireTokens } from '../src/token-batch.js'

const table = new PunctuationTable(new Map([[2, ',']]), 8)

test('targets are the next tokens of the same sequence, and the weights make the mean', () => {
  const batch = nextTokenBatch([Int32Array.of(1, 2, 3), Int32Array.of(4), Int32Array.of(5, 2)], table)
  expect(batch.lengths).toEqual([3, 1, 2])
  expect([...batch.ids]).toEqual([1, 2, 3, 4, 5, 2])
  expect([...batch.punctuation]).toEqual([0, 1, 0, 0, 0, 1])
  expect([...batch.targets.filter((_, row) => batch.weights[row] > 0)]).toEqual([2, 3, 2])
  const third = Math.fround(1 / 3)
  expect([...batch.weights]).toEqual([third, third, 0, 0, third, 0])
})

test('nothing to predict is an error', () => {
  expect(() => nextTokenBatch([Int32Array.of(1), new Int32Array(0)])).toThrow(/no sequence has a next token/)
})

test.each([
  [{ lengths: [2] }, /lengths sum to 2 but there are 3 ids/],
  [{ ids: Int32Array.of(1, 8, 2) }, /ids\[1\] is 8; ids are 0 to 7/],
  [{ ids: Int32Array.of(1, -1, 2) }, /ids\[1\] is -1/],
  [{ punctuation: new Uint8Array(2) }, /punctuation has 2 entries for 3 tokens/],
  [{ ids: new Int32Array(0), lengths: [], punctuation: new Uint8Array(0) }, /no tokens/],
])('a batch that does not fit is refused: %j', (change, message) => {
  expect(() => requireTokens({ ...tokenBatch([Int32Array.of(1, 2, 3)]), ...change }, 8, 16)).toThrow(message)
})

test('a sequence past the last position is refused', () => {
  expect(() => requireTokens(tokenBatch([new Int32Array(17)]), 8, 16)).toThrow(/has 17 tokens; this model takes at most 16/)
})
