import { expect, test } from 'vitest'
import { blockStates } from '../src/report/passage-map.js'

const passage = { tokens: Array.from({ length: 90 }, () => 'x'), blockSize: 16, initTokens: 16, localTokens: 32 }

test('a query sees the first and the local blocks, what is selected, and nothing after itself', () => {
  expect(blockStates(passage, 70, [2])).toEqual(['forced', 'candidate', 'selected', 'forced', 'forced', 'hidden'])
})

test('an early query is forced to all that there is', () => {
  expect(blockStates(passage, 20)).toEqual(['forced', 'forced', 'hidden', 'hidden', 'hidden', 'hidden'])
})
