import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { InvalidConfigError, ShapeError, selectionRecall } from '../src/index.js'

describe('selectionRecall', () => {
  test('the share of the oracle’s blocks that were chosen, row by row', () => {
    expect(selectionRecall([1, 2, 5, 7, 3, -1], [2, 4, 5, 7, 1, -1], 2)).toBe(3 / 5)
    // Block 1 of the second row does not count for the first.
    expect(selectionRecall([1, 2, 3, 4], [3, 4, 1, 2], 2)).toBe(0)
  })

  test('is 1 against itself', () => {
    fc.assert(
      fc.property(fc.uniqueArray(fc.nat(50), { minLength: 1, maxLength: 8 }), (blocks) => {
        expect(selectionRecall(blocks, blocks, blocks.length)).toBe(1)
      }),
    )
  })

  test.each([
    [[1], [1, 2], 1],
    [[1, 2, 3], [1, 2, 3], 2],
    [[1, 2], [1, 2], 0],
  ])('refuses %j against %j at topK %d', (selected, oracle, topK) => {
    expect(() => selectionRecall(selected, oracle, topK)).toThrow(ShapeError)
  })

  test.each([
    [[-1, -1], 2],
    [[], 0],
  ])('an oracle of no blocks is an error: %j', (oracle, topK) => {
    expect(() => selectionRecall(oracle, oracle, topK)).toThrow(InvalidConfigError)
  })
})
