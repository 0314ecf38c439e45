import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  attentionSpec,
  denseSpec,
  forLength,
  InvalidConfigError,
  isDense,
  layerLambda,
  PHSA_4K,
  PHSA_32K,
  phsaConfig,
} from '../src/index.js'
import { errorOf } from './error-of.js'

const heads = { heads: 16, kvHeads: 8, headDim: 128, dtype: 'bf16' } as const

describe('phsaConfig', () => {
  test('fills what is not given from the base', () => {
    expect(phsaConfig()).toEqual(PHSA_4K)
    expect(phsaConfig({ topK: 16, lambda: undefined }, PHSA_32K)).toEqual({ ...PHSA_32K, topK: 16 })
  })

  test('survives JSON', () => {
    const config = phsaConfig({ lambda: [[0.5, 1]], denseLayers: [0, 3], score: 'logit', representatives: 2 })
    expect(phsaConfig(JSON.parse(JSON.stringify(config)))).toEqual(config)
  })

  test('takes every valid combination', () => {
    const settings = fc.constantFrom(8, 16, 32, 64).chain((blockSize) =>
      fc.record({
        blockSize: fc.constant(blockSize),
        initTokens: fc.nat(8).map((blocks) => blocks * blockSize),
        localTokens: fc.integer({ min: 1, max: 64 }).map((blocks) => blocks * blockSize),
        topK: fc.nat(64),
        lambda: fc.double({ min: 0, max: 1, noNaN: true }),
        representatives: fc.constantFrom(1, 2, 4, 8),
        denseBelow: fc.nat(2 ** 30),
      }),
    )
    fc.assert(
      fc.property(settings, (given) => {
        expect(phsaConfig(given)).toMatchObject(given)
      }),
    )
  })

  test.each([
    ['blockSize', { blockSize: 0 }, /blockSize is 0; it must be an integer from 1/],
    ['blockSize', { blockSize: Number.NaN }, /blockSize is NaN/],
    ['initTokens', { initTokens: -16 }, /initTokens is -16/],
    ['initTokens', { initTokens: 20 }, /multiple of blockSize, which is 16. Near it are 16 and 32/],
    ['localTokens', { localTokens: 8 }, /localTokens is 8; it must be an integer from 16/],
    ['localTokens', { localTokens: 100 }, /Near it are 96 and 112/],
    ['topK', { topK: 65 }, /topK is 65; it must be an integer from 0 to 64/],
    ['topK', { topK: 1.5 }, /topK is 1.5/],
    ['representatives', { representatives: 3 }, /must divide blockSize, which is 16/],
    ['denseBelow', { denseBelow: -1 }, /denseBelow is -1/],
    ['score', { score: 'cosine' }, /score is "cosine"; it must be softmax, logit or overlap/],
    ['score', { blockSize: 32, localTokens: 128, initTokens: 32, score: 'overlap' }, /sub-blocks of 16/],
    ['lambda', { lambda: 1.5 }, /lambda is 1.5/],
    ['lambda', { lambda: Number.NaN }, /lambda is NaN/],
    ['lambda', { lambda: [] }, /lambda is \[\]/],
    ['lambda', { lambda: [0.5, 0.5] }, /lambda is \[0.5,0.5\]; .*one list of them a layer/],
    ['lambda', { lambda: [[0.5, 2]] }, /lambda is \[\[0.5,2\]\]/],
    ['lambda', { lambda: 'high' }, /lambda is "high"/],
    ['denseLayers', { denseLayers: [-1] }, /denseLayers is -1/],
    ['denseLayers', { denseLayers: 3 }, /list of layer indices/],
    ['window', { window: 5 }, /window is not a PHSA setting; there are blockSize/],
    ['toString', { toString: 5 }, /toString is not a PHSA setting/],
  ])('an error about %s names it, its value and what is allowed', (setting, settings, message) => {
    const error = errorOf(() => phsaConfig(settings as never))
    expect(error).toBeInstanceOf(InvalidConfigError)
    expect(error).toMatchObject({ code: 'invalid-config', setting })
    expect(error.message).toMatch(message)
  })
})

describe('forLength', () => {
  test('4k parameters up to 4,096 tokens, those of 32k beyond', () => {
    expect([1, 4096, 4097, 131072].map(forLength)).toEqual([PHSA_4K, PHSA_4K, PHSA_32K, PHSA_32K])
  })

  test.each([0, -1, 2.5])('refuses %d tokens', (length) => {
    expect(() => forLength(length)).toThrow(`length is ${length}`)
  })
})

describe('attentionSpec', () => {
  test('joins parameters and heads', () => {
    expect(attentionSpec(PHSA_4K, heads)).toEqual({
      ...heads,
      blockSize: 16,
      initTokens: 16,
      localTokens: 128,
      topK: 2,
      representatives: 1,
      score: 'softmax',
      denseBelow: 0,
    })
  })

  test.each([
    ['heads', { ...heads, heads: 12 }],
    ['kvHeads', { ...heads, kvHeads: 0 }],
    ['headDim', { ...heads, headDim: 1.5 }],
  ])('refuses wrong %s', (setting, wrong) => {
    expect(errorOf(() => attentionSpec(PHSA_4K, wrong))).toMatchObject({ setting })
  })

  test('its dense form sees everything and selects nothing', () => {
    const dense = denseSpec(attentionSpec(PHSA_4K, heads))
    expect(isDense(dense)).toBe(true)
    expect(dense).toMatchObject({ topK: 0, denseBelow: 0, headDim: 128 })
    expect(isDense(attentionSpec(PHSA_4K, heads))).toBe(false)
    // A window must not overflow int32 when a position is added, and stay whole blocks.
    expect(dense.localTokens + 2 ** 24).toBeLessThan(2 ** 31)
    expect(dense.localTokens % 64).toBe(0)
  })
})

describe('layerLambda', () => {
  test('one number serves every head', () => {
    expect(layerLambda(PHSA_4K, 7, 3)).toEqual(Float32Array.of(0.5, 0.5, 0.5))
  })

  test('a list has a row a layer', () => {
    const config = phsaConfig({
      lambda: [
        [0, 1],
        [0.25, 0.75],
      ],
    })
    expect(layerLambda(config, 1, 2)).toEqual(Float32Array.of(0.25, 0.75))
    expect(() => layerLambda(config, 1, 3)).toThrow('lambda has 2 values for layer 1; give one for each of its 3 KV heads')
    expect(() => layerLambda(config, 2, 2)).toThrow('lambda has no values for layer 2')
  })
})
