import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { branchWeights, InvalidConfigError, PackedLayout, poolingWeights, ShapeError } from '../src/index.js'

/** Packed sequences of 16-token blocks with any tokens marked, and a number of sub-blocks. */
const batches = fc
  .record({ lengths: fc.array(fc.integer({ min: 1, max: 60 }), { minLength: 1, maxLength: 4 }), representatives: fc.constantFrom(1, 2, 4) })
  .chain(({ lengths, representatives }) => {
    const layout = new PackedLayout(lengths, 16)
    const total = layout.totalTokens
    return fc.record({
      layout: fc.constant(layout),
      representatives: fc.constant(representatives),
      punctuation: fc.uint8Array({ minLength: total, maxLength: total, max: 1 }),
    })
  })
const lambdas = fc.double({ min: 0, max: 1, noNaN: true })

describe('poolingWeights', () => {
  test('a block by hand: 4 tokens, 1 mark, lambda 0.5', () => {
    const weights = poolingWeights(Uint8Array.of(0, 0, 1, 0), new PackedLayout([4], 8), 0.5)
    expect([...weights]).toEqual([0.125, 0.125, 0.625, 0.125])
  })

  test('any non-zero byte is a mark', () => {
    expect([...poolingWeights(Uint8Array.of(0, 255), new PackedLayout([2], 8), 0)]).toEqual([0, 1])
  })

  test('a block without punctuation falls back to its mean, whatever lambda', () => {
    const weights = poolingWeights(new Uint8Array(12), new PackedLayout([12], 8), 0)
    expect([...weights]).toEqual([...Array(8).fill(1 / 8), ...Array(4).fill(1 / 4)])
  })

  test('the weights of each sub-block sum to 1', () => {
    fc.assert(
      fc.property(batches, lambdas, ({ layout, punctuation, representatives }, lambda) => {
        const weights = poolingWeights(punctuation, layout, lambda, representatives)
        for (const { start, end, length } of layout.blocks(representatives)) {
          const sum = weights.subarray(start, end).reduce((total, weight) => total + weight, 0)
          expect(sum).toBeCloseTo(length === 0 ? 0 : 1, 5)
        }
      }),
    )
  })

  test('they are the fusion of both branches', () => {
    fc.assert(
      fc.property(batches, lambdas, ({ layout, punctuation, representatives }, lambda) => {
        const fused = poolingWeights(punctuation, layout, lambda, representatives)
        const branches = branchWeights(punctuation, layout, representatives)
        for (const [token, weight] of fused.entries()) {
          expect(weight).toBeCloseTo(lambda * branches.global[token] + (1 - lambda) * branches.punctuation[token], 6)
        }
      }),
    )
  })

  test('lambda 1 is exactly the mean-pool', () => {
    fc.assert(
      fc.property(batches, ({ layout, punctuation, representatives }) => {
        const weights = poolingWeights(punctuation, layout, 1, representatives)
        for (const { start, end, length } of layout.blocks(representatives)) {
          for (let token = start; token < end; token++) expect(weights[token]).toBe(Math.fround(1 / length))
        }
      }),
    )
  })

  test('lambda 0 leaves a token that is no mark out where there are marks', () => {
    fc.assert(
      fc.property(batches, ({ layout, punctuation }) => {
        const weights = poolingWeights(punctuation, layout, 0)
        for (const { start, end } of layout.blocks()) {
          if (!punctuation.subarray(start, end).some(Boolean)) continue
          for (let token = start; token < end; token++) expect(weights[token] > 0).toBe(punctuation[token] !== 0)
        }
      }),
    )
  })

  test.each([-0.1, 1.1, Number.NaN])('refuses lambda %d', (lambda) => {
    expect(() => poolingWeights(new Uint8Array(4), new PackedLayout([4], 8), lambda)).toThrow(InvalidConfigError)
  })

  test('refuses marks of another length', () => {
    const pool = () => poolingWeights(new Uint8Array(3), new PackedLayout([4], 8), 0.5)
    expect(pool).toThrow(ShapeError)
    expect(pool).toThrow('3 entries for 4 tokens')
  })
})
