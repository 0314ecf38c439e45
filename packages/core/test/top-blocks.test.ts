import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { attentionSpec, type BlockScores, candidateBlocks, denseSpec, phsaConfig, topBlocks } from '../src/index.js'

const heads = { heads: 4, kvHeads: 2, headDim: 4, dtype: 'f32' } as const
const spec = attentionSpec(phsaConfig({ blockSize: 8, initTokens: 8, localTokens: 16, topK: 2 }), heads)

describe('candidateBlocks', () => {
  test('are what complete and unforced mean, for any spec and position', () => {
    const specs = fc.record({ init: fc.nat(4), local: fc.integer({ min: 1, max: 5 }), denseBelow: fc.nat(40) })
    fc.assert(
      fc.property(specs, fc.nat(300), ({ init, local, denseBelow }, position) => {
        const drawn = { ...spec, initTokens: init * 8, localTokens: local * 8, denseBelow }
        const { start, end } = candidateBlocks(drawn, position)
        const own = Math.floor(position / 8)
        for (let block = 0; block <= own + 2; block++) {
          const complete = (block + 1) * 8 - 1 <= position
          const forced = block < init || (block > own - local && block <= own)
          expect(block >= start && block < end).toBe(complete && !forced && position >= denseBelow)
        }
      }),
    )
  })

  test('a dense spec has none', () => {
    const { start, end } = candidateBlocks(denseSpec(spec), 1000)
    expect(end).toBe(start)
  })
})

describe('topBlocks', () => {
  const choose = (values: number[], position: number) => [
    ...topBlocks({ values, maxBlocks: values.length, positions: [position] }, { ...spec, kvHeads: 1, heads: 2 }),
  ]

  test('the best candidates, ascending; forced blocks do not count', () => {
    // Blocks 1 to 4 are candidates at position 55: 0 is initial, 5 and 6 are local.
    expect(choose([9, 1, 5, 2, 4, 9, 9], 55)).toEqual([2, 4])
  })

  test('ties go to the lower index', () => {
    expect(choose([0, 3, 3, 3, 3, 0, 0], 55)).toEqual([1, 2])
  })

  test('NaN loses to any number', () => {
    expect(choose([0, Number.NaN, -3, Number.NaN, -2, 0, 0], 55)).toEqual([2, 4])
    expect(choose([0, Number.NaN, -3, Number.NaN, Number.NaN, 0, 0], 55)).toEqual([1, 2])
  })

  test('fewer candidates than topK: all of them, then -1', () => {
    expect(choose([9, 1, 9, 9], 31)).toEqual([1, -1])
    expect(choose([9, 9], 8)).toEqual([-1, -1])
  })

  test('a row of no query chooses nothing', () => {
    expect(choose([1, 1, 1], -1)).toEqual([-1, -1])
  })

  test('no block left out is better than one chosen, in any row', () => {
    const rows = fc.array(fc.nat(79), { minLength: 1, maxLength: 4 })
    const scores: fc.Arbitrary<BlockScores> = rows.chain((positions) =>
      fc
        .array(fc.integer({ min: 0, max: 5 }), { minLength: 2 * positions.length * 10, maxLength: 2 * positions.length * 10 })
        .map((values) => ({ values, maxBlocks: 10, positions })),
    )
    fc.assert(
      fc.property(scores, ({ values, maxBlocks, positions }) => {
        const chosen = topBlocks({ values, maxBlocks, positions }, spec)
        for (let row = 0; row < 2 * positions.length; row++) {
          const { start, end } = candidateBlocks(spec, positions[row % positions.length])
          const own = [...chosen.subarray(row * 2, row * 2 + 2)].filter((block) => block >= 0)
          expect(own).toHaveLength(Math.min(2, Math.max(0, end - start)))
          expect(own).toEqual([...new Set(own)].sort((left, right) => left - right))
          const worst = Math.min(...own.map((block) => values[row * maxBlocks + block]))
          for (let block = start; block < end; block++) {
            if (!own.includes(block)) expect(values[row * maxBlocks + block]).toBeLessThanOrEqual(worst)
          }
        }
      }),
    )
  })
})
