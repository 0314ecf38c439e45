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
      scoreMega: Math.round(cost.scoreBytes / 1e6),
      gathered: giga(cost.gatheredBytes),
    }
  }
  const logit = { ...long, score: 'logit' } as const

  test('as design notes round it: every query sees A', () => {
    expect(round(long, ceilingCounts)).toEqual({
      attention: 241,
      scoring: 137,
      percent: '11.7',
      tensors: '0.4',
      scoreMega: 252,
      gathered: 34,
    })
    expect(round(logit, ceilingCounts)).toMatchObject({ percent: '8.6' })
  })

  test('exactly: early queries and the last block see less', () => {
    expect(round()).toEqual({ attention: 235, scoring: 137, percent: '11.6', tensors: '0.4', scoreMega: 252, gathered: 34 })
    expect(round(logit)).toMatchObject({ percent: '8.5' })
  })

  test('only the exact softmax passes twice over the scores', () => {
    expect([scorePasses(long), scorePasses(logit)]).toEqual([2, 1])
    const counts = exactCounts(long, [32768])
    const twice = attentionCost(long, counts)
    expect(twice.totalFlops).toBe(2 * twice.scoreFlops + twice.attentionFlops)
    expect(attentionCost(long, counts, 1).totalFlops).toBe(twice.scoreFlops + twice.attentionFlops)
  })

  test('bytes of pooling, scoring and attention, counted by hand', () => {
    // Two sequences of 40 and 7 tokens in blocks of 16: 3 + 1 blocks of 2 representatives, 8 rows a KV head.
    const spec = attentionSpec(phsaConfig({ blockSize: 16, initTokens: 0, localTokens: 16, topK: 1, representatives: 2 }), {
      heads: 4,
      kvHeads: 2,
      headDim: 8,
      dtype: 'bf16',
    })
    const [q, k, representatives, selected, lse] = [47 * 4 * 8 * 2, 47 * 2 * 8 * 2, 8 * 2 * 8 * 4, 47 * 2 * 1 * 4, 47 * 4 * 4]
    const cost = attentionCost(spec, exactCounts(spec, [40, 7]))
    expect(cost.scoreBytes).toBe(k + representatives + (q + representatives + selected) + selected)
    expect(cost.tensorBytes).toBe(q + k + k + q + lse)
    expect([cost.scoreBytes, cost.tensorBytes, cost.totalBytes]).toEqual([6288, 9776, 16064])
    // The window is one block, so the 24 queries from position 16 on gather one block of 16 keys each.
    expect(cost.gatheredBytes).toBe(24 * 16 * 2 * 2 * 8 * 2)
    // float64 tensors have float64 representatives and lse.
    const wide = attentionCost({ ...spec, dtype: 'f64' }, exactCounts(spec, [40, 7]))
    expect(wide.totalBytes).toBe(4 * (k + q + q + k + k + q) + 2 * (2 * representatives + lse) + 2 * selected)
  })

  test('without anything to select nothing is pooled or scored', () => {
    const none = { ...long, topK: 0 }
    expect(attentionCost(none, exactCounts(none, [32768]))).toMatchObject({ scoreFlops: 0, scoreBytes: 0 })
  })

  test('the dense form costs what dense attention costs', () => {
    const dense = denseSpec(long)
    expect(attentionCost(dense, exactCounts(dense, [100, 7]))).toMatchObject({ share: 1, scoreFlops: 0, scoreBytes: 0, gatheredBytes: 0 })
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
        const counts = { queries: 0, visible: 0, selected: 0, scored: 0, representatives: 0, causal: 0 }
        for (const length of lengths) {
          if (spec.topK > 0) counts.representatives += Math.ceil(length / spec.blockSize) * spec.representatives
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
            if (chosen > 0) {
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

  test('nothing is scored by queries without candidates', () => {
    // Window 16, no first tokens: candidates from position 16 on. Complete blocks: 1 at positions 16 to 30, 2 at 31 to 46, 3 at 47.
    const spec = attentionSpec(phsaConfig({ blockSize: 16, initTokens: 0, localTokens: 16, topK: 1 }), heads)
    expect(exactCounts(spec, [48]).scored).toBe(15 * 1 + 16 * 2 + 1 * 3)
    expect(exactCounts({ ...spec, localTokens: 48 }, [48]).scored).toBe(0)
    expect(exactCounts({ ...spec, denseBelow: 47 }, [48]).scored).toBe(3)
  })

  test('overlap scores kernels of two sub-blocks, as many as lie wholly past', () => {
    // Kernel c ends at 16 c + 31. Blocks of 32, window 32: candidates from position 32 on; 1 kernel to 46, 2 at 47 to 62, 3 at 63.
    const spec = attentionSpec(
      phsaConfig({ blockSize: 32, initTokens: 0, localTokens: 32, topK: 1, representatives: 2, lambda: 1, score: 'overlap' }),
      heads,
    )
    expect(exactCounts(spec, [64]).scored).toBe(15 * 1 + 16 * 2 + 1 * 3)
    // Blocks of 16: a candidate from position 16 on, the first kernel from 31 on.
    const small = attentionSpec(phsaConfig({ blockSize: 16, initTokens: 0, localTokens: 16, topK: 1, lambda: 1, score: 'overlap' }), heads)
    expect(exactCounts(small, [33]).scored).toBe(2)
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
