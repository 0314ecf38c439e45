import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { PackedLayout, ShapeError } from '../src/index.js'

const lengths = fc.array(fc.nat(70), { minLength: 1, maxLength: 6 })
const blockSizes = fc.constantFrom(8, 16, 32)

describe('PackedLayout', () => {
  test('starts of rows and blocks', () => {
    const layout = new PackedLayout([5, 16, 33], 16, [5, 1, 3])
    expect(layout.keyStarts).toEqual(Int32Array.of(0, 5, 21, 54))
    expect(layout.queryStarts).toEqual(Int32Array.of(0, 5, 6, 9))
    expect(layout.blockStarts).toEqual(Int32Array.of(0, 1, 2, 5))
    expect(layout).toMatchObject({ sequences: 3, totalTokens: 54, totalQueries: 9, totalBlocks: 5, maxBlocks: 3, maxQueries: 5 })
    expect([0, 1, 2].map((sequence) => layout.firstQueryPosition(sequence))).toEqual([0, 15, 30])
  })

  test('no sequences at all', () => {
    const layout = new PackedLayout([], 16)
    expect(layout).toMatchObject({ sequences: 0, totalTokens: 0, totalQueries: 0, totalBlocks: 0, maxBlocks: 0, maxQueries: 0 })
    expect([...layout.blocks()]).toEqual([])
  })

  test('keeps its own copy of the lengths', () => {
    const given = [3, 4]
    const layout = new PackedLayout(given, 8)
    given[0] = 100
    expect(layout.keyLengths).toEqual([3, 4])
  })

  test('positions restart at each sequence', () => {
    expect([...new PackedLayout([2, 0, 3], 8).positions()]).toEqual([0, 1, 0, 1, 2])
  })

  test('starts ascend to the totals and blocks cover each row once', () => {
    fc.assert(
      fc.property(lengths, blockSizes, fc.constantFrom(1, 2, 4), (keyLengths, blockSize, representatives) => {
        const layout = new PackedLayout(keyLengths, blockSize)
        const covered = new Uint8Array(layout.totalTokens)
        let blocks = 0
        for (const { sequence, index, start, end, length } of layout.blocks(representatives)) {
          expect(length).toBe(end - start)
          expect(length).toBeLessThanOrEqual(blockSize / representatives)
          expect(start).toBeGreaterThanOrEqual(layout.keyStarts[sequence])
          expect(end).toBeLessThanOrEqual(layout.keyStarts[sequence + 1])
          // The row that the representatives tensor has for it.
          expect(layout.blockStarts[sequence] * representatives + index).toBe(blocks++)
          for (let row = start; row < end; row++) covered[row]++
        }
        expect(blocks).toBe(layout.totalBlocks * representatives)
        expect(covered.every((times) => times === 1)).toBe(true)
      }),
    )
  })

  test('every block of a sequence holds a token when it has one representative', () => {
    fc.assert(
      fc.property(lengths, blockSizes, (keyLengths, blockSize) => {
        expect([...new PackedLayout(keyLengths, blockSize).blocks()].every(({ length }) => length > 0)).toBe(true)
      }),
    )
  })

  test('a sub-block past the end of a partial block is empty, not missing', () => {
    const blocks = [...new PackedLayout([9], 8).blocks(2)]
    expect(blocks.map(({ start, end }) => [start, end])).toEqual([
      [0, 4],
      [4, 8],
      [8, 9],
      [9, 9],
    ])
  })

  test.each([
    ['a negative length', () => new PackedLayout([-1], 8), /sequence 0 has -1 queries and -1 keys/],
    ['a fractional length', () => new PackedLayout([4, 1.5], 8), /sequence 1/],
    ['more queries than keys', () => new PackedLayout([4], 8, [5]), /5 queries and 4 keys/],
    ['another number of query lengths', () => new PackedLayout([4, 4], 8, [4]), /2 key lengths but 1 query lengths/],
    ['a block size of zero', () => new PackedLayout([4], 0), /blockSize is 0/],
    ['sub-blocks that do not divide the block', () => [...new PackedLayout([4], 8).blocks(3)], /representatives is 3/],
  ])('refuses %s', (_, make, message) => {
    expect(make).toThrow(ShapeError)
    expect(make).toThrow(message)
  })
})
