import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  activatedTokens,
  attentionCost,
  attentionSpec,
  candidateBlocks,
  ceilingCounts,
  denseSpec,
  exactCounts,
  forLength,
  PHSA_32K,
  phsaConfig,
  scorePasses,
  sparsity,
} from '../src/index.js'

const heads = { heads: 16, kvHeads: 8, headDim: 128, dtype: 'bf16' } as const
const long = attentionSpec({ ...PHSA_32K, topK: 16 }, heads)

describe('activated tokens', () => {
  test('at 32k with topK 16: A = 896, 97.3 % sparse', () => {
    expect(activatedTokens(long)).toBe(896)
    expect((100 * sparsity(long, 32768)).toFixed(1)).toBe('97.3')
  })

  test('a context that A covers is not sparse', () => {
    expect(sparsity(long, 500)).toBe(0)
  })
})

describe('the cost of one layer at 32k, 16/8 heads, topK 16', () => {
  const round = (spec = long, counts = exactCounts) => {
    const cost = attentionCost(spec, counts(spec, [32768]))
    const giga = (value: number) => Math.round(value / 1e9)
    return {
      attention: giga(cost.attentionFlops),
      scoring: giga(cost.scoreFlops),
      percent: (100 * cost.share).toFixed(1),
      tensors: (cost.tensorBytes / 1e9).toFixed(1),
      gathered: giga(cost.gatheredBytes),
    }
  }
  const logit = { ...long, score: 'logit' } as const

  test('as design notes round it: every query sees A', () => {
    expect(round(long, ceilingCounts)).toEqual({ attention: 241, scoring: 137, percent: '11.7', tensors: '0.4', gathered: 34 })
    expect(round(logit, ceilingCounts)).toMatchObject({ percent: '8.6' })
  })

  test('exactly: early queries and the last block see less', () => {
    expect(round()).toEqual({ attention: 235, scoring: 137, percent: '11.6', tensors: '0.4', gathered: 34 })
    expect(round(logit)).toMatchObject({ percent: '8.5' })
  })

  test('only the exact softmax passes twice over the scores', () => {
    expect([scorePasses(long), scorePasses(logit)]).toEqual([2, 1])
    const counts = exactCounts(long, [32768])
    const twice = attentionCost(long, counts)
    expect(twice.totalFlops).toBe(2 * twice.scoreFlops + twice.attentionFlops)
    expect(attentionCost(long, counts, 1).totalFlops).toBe(twice.scoreFlops + twice.attentionFlops)
  })

  test('the dense form costs what dense attention costs', () => {
    const dense = denseSpec(long)
    expect(attentionCost(dense, exactCounts(dense, [100, 7]))).toMatchObject({ share: 1, scoreFlops: 0, gatheredBytes: 0 })
    expect(attentionCost(dense, exactCounts(dense, [])).share).toBe(1)
    expect(attentionCost(dense, ceilingCounts(dense, [4096])).share).toBe(1)
  })
})

describe('exactCounts', () => {
  const specs = fc
    .record({
      blockSize: fc.constantFrom(8, 16),
      init: fc.nat(3),
      local: fc.integer({ min: 1, max: 4 }),
      topK: fc.nat(5),
      denseBelow: fc.nat(60),
      representatives: fc.constantFrom(1, 2),
    })
    .map(({ init, local, ...settings }) =>
      attentionSpec(
        phsaConfig({ ...settings, initTokens: init * settings.blockSize, localTokens: local * settings.blockSize }, forLength(1)),
        heads,
      ),
    )

  test('equals a count of the keys that each query sees', () => {
    fc.assert(
      fc.property(specs, fc.array(fc.nat(150), { maxLength: 3 }), (spec, lengths) => {
        const counts = { queries: 0, visible: 0, selected: 0, scored: 0, causal: 0 }
        for (const length of lengths) {
          for (let position = 0; position < length; position++) {
            const { start, end } = candidateBlocks(spec, position)
            const chosen = Math.min(spec.topK, end - start)
            const own = Math.floor(position / spec.blockSize)
            for (let key = 0; key <= position; key++) {
              const block = Math.floor(key / spec.blockSize)
              const forced = block * spec.blockSize < spec.initTokens || block > own - spec.localTokens / spec.blockSize
              if (forced || position < spec.denseBelow) counts.visible++
            }
            counts.visible += chosen * spec.blockSize
            counts.selected += chosen * spec.blockSize
            if (position >= spec.denseBelow && spec.topK > 0) {
              for (let block = 0; (block + 1) * spec.blockSize - 1 <= position; block++) counts.scored += spec.representatives
            }
            counts.causal += position + 1
          }
          counts.queries += length
        }
        expect(exactCounts(spec, lengths)).toEqual(counts)
      }),
    )
  })

  test('never exceeds A a query nor dense attention', () => {
    fc.assert(
      fc.property(specs, fc.integer({ min: 1, max: 400 }), (spec, length) => {
        const counts = exactCounts({ ...spec, denseBelow: 0 }, [length])
        expect(counts.visible).toBeLessThanOrEqual(Math.min(counts.causal, length * activatedTokens(spec)))
      }),
    )
  })
})
