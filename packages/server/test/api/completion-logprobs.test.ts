import { expect, test } from 'vitest'
import { completionLogprobs } from '../../src/api/completion-logprobs.js'
import { TokenNames } from '../../src/api/token-names.js'
import { tinyTokenizer } from './tiny-tokenizer.js'

const tokenizer = tinyTokenizer()
const names = new TokenNames(tokenizer.json)

test('a token has its text for a name, and its number where its bytes are no whole characters', () => {
  const [fox] = tokenizer.encode('fox')
  expect([names.name(fox), names.bytes(fox)]).toEqual(['fox', [...Buffer.from('fox')]])
  const [first, second] = tokenizer.encode('é')
  expect([names.name(first), names.bytes(first)]).toEqual([`token_id:${first}`, null])
  expect(names.name(first)).not.toBe(names.name(second))
})

test('of two likely tokens of one name the likelier one is told', () => {
  const same = { name: () => 'fox' } as unknown as TokenNames
  const token = { id: 1, offset: 0, logprob: -1, top: [[1, -1] as const, [2, -2] as const] }
  expect(completionLogprobs([token], same).top_logprobs).toEqual([{ fox: -1 }])
})
