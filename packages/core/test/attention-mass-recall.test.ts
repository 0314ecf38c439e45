import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  activatedTokens,
  attentionMassRecall,
  attentionSpec,
  denseSpec,
  InvalidConfigError,
  phsaConfig,
  ShapeError,
  topBlocks,
} from '../src/index.js'

// A = 8 + 8 + 8 = 24 tokens; at position 39 block 0 is initial, block 4 local, 1 to 3 are candidates.
const spec = attentionSpec(phsaConfig({ blockSize: 8, initTokens: 8, localTokens: 8, topK: 1 }), {
  heads: 4,
  kvHeads: 2,
  headDim: 4,
  dtype: 'f32',
})

/** Masses of two heads a group: each row of five blocks sums to 2. */
const head = (row: number[]) => row.map((share) => 2 * share)

describe('attentionMassRecall', () => {
  const values = [...head([0.1, 0.5, 0.2, 0.1, 0.1]), ...head([0.3, 0, 0, 0.6, 0.1])]
  const mass = { values, maxBlocks: 5, positions: [39] }

  test('adds what the chosen and the forced blocks hold, over the heads of each group', () => {
    const { recall, byHead, loss, queries } = attentionMassRecall(mass, [1, 2], spec)
    // Group 0 sees 0.1 + 0.5 + 0.1, group 1 sees 0.3 + 0 + 0.1.
    expect(recall).toBeCloseTo((0.7 + 0.4) / 2, 12)
    expect(byHead.map((share) => Number(share.toFixed(12)))).toEqual([0.7, 0.4])
    expect(loss).toBeCloseTo(0.45, 12)
    expect(queries).toBe(1)
  })

  test('an empty place in the selection adds nothing', () => {
    expect(attentionMassRecall(mass, [-1, -1], spec).recall).toBeCloseTo((0.2 + 0.4) / 2, 12)
  })

  test('averages positions from A on only', () => {
    expect(activatedTokens(spec)).toBe(24)
    const early = head([0, 1, 0, 0, 0])
    const row = (group: number) => [...early, ...values.slice(group * 5, group * 5 + 5), ...early]
    const packed = { values: [...row(0), ...row(1)], maxBlocks: 5, positions: [23, 39, -1] }
    const measured = attentionMassRecall(packed, [-1, 1, -1, -1, 2, -1], spec)
    expect(measured.queries).toBe(1)
    expect(measured.recall).toBeCloseTo(0.55, 12)
  })

  test('dense attention recalls everything, measured where the sparse one is', () => {
    const dense = attentionMassRecall(mass, [], denseSpec(spec), 24)
    expect(dense.recall).toBeCloseTo(1, 12)
    expect(attentionMassRecall(mass, [-1, -1], { ...spec, denseBelow: 40 }).recall).toBeCloseTo(1, 12)
  })

  test('no selection of the same size beats the oracle', () => {
    const rows = fc.array(fc.double({ min: 0.01, max: 1, noNaN: true }), { minLength: 10, maxLength: 10 })
    fc.assert(
      fc.property(rows, fc.integer({ min: 1, max: 3 }), fc.integer({ min: 1, max: 3 }), (drawn, first, second) => {
        const sums = [0, 5].map((start) => drawn.slice(start, start + 5).reduce((total, value) => total + value, 0))
        const normal = drawn.map((value, index) => (2 * value) / sums[Math.floor(index / 5)])
        const scores = { values: normal, maxBlocks: 5, positions: [39] }
        const best = attentionMassRecall(scores, topBlocks(scores, spec), spec).recall
        const other = attentionMassRecall(scores, [first, second], spec).recall
        expect(best).toBeGreaterThanOrEqual(other - 1e-12)
        expect(best).toBeLessThanOrEqual(1 + 1e-12)
        expect(other).toBeGreaterThan(0)
      }),
    )
  })

  test('no query past A is an error that says so', () => {
    const measure = () => attentionMassRecall({ ...mass, positions: [23] }, [1, 2], spec)
    expect(measure).toThrow(InvalidConfigError)
    expect(measure).toThrow('no measured query stands at position 24 or later')
  })

  test('lengths that do not fit are refused', () => {
    expect(() => attentionMassRecall({ ...mass, maxBlocks: 4 }, [1, 2], spec)).toThrow(ShapeError)
    expect(() => attentionMassRecall(mass, [1], spec)).toThrow('selected has 1 entries; [2, 1, 1] takes 2.')
  })
})
