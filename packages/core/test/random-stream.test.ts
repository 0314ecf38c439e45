import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { RandomStream } from '../src/index.js'

const seeds = fc.integer({ min: 0, max: 2 ** 32 - 1 })

describe('RandomStream', () => {
  test('the same seed gives the same numbers, another seed others', () => {
    const draw = (seed: number) =>
      Array.from(
        { length: 8 },
        (
          (stream) => () =>
            stream.integer()
        )(new RandomStream(seed)),
      )
    expect(draw(7)).toEqual(draw(7))
    expect(draw(7)).not.toEqual(draw(8))
  })

  test('its state continues it', () => {
    fc.assert(
      fc.property(seeds, fc.nat(20), (seed, warmUp) => {
        const stream = new RandomStream(seed)
        for (let step = 0; step < warmUp; step++) stream.normal()
        const restored = new RandomStream(stream.state)
        expect([restored.integer(), restored.uniform(), restored.normal()]).toEqual([stream.integer(), stream.uniform(), stream.normal()])
      }),
    )
  })

  test('integers are unsigned, uniform numbers lie in [0, 1), below() in its range', () => {
    fc.assert(
      fc.property(seeds, fc.integer({ min: 1, max: 1000 }), (seed, limit) => {
        const stream = new RandomStream(seed)
        const integer = stream.integer()
        expect(Number.isInteger(integer) && integer >= 0 && integer < 2 ** 32).toBe(true)
        const uniform = stream.uniform()
        expect(uniform >= 0 && uniform < 1).toBe(true)
        const below = stream.below(limit)
        expect(Number.isInteger(below) && below >= 0 && below < limit).toBe(true)
        expect(Number.isFinite(stream.normal())).toBe(true)
      }),
    )
  })

  test('uniform numbers fill ten bins evenly', () => {
    const stream = new RandomStream(1)
    const bins = new Array<number>(10).fill(0)
    for (let draw = 0; draw < 20_000; draw++) bins[stream.below(10)]++
    const chiSquare = bins.reduce((sum, count) => sum + (count - 2000) ** 2 / 2000, 0)
    // 99.9th percentile for nine degrees of freedom; the seed is fixed.
    expect(chiSquare).toBeLessThan(27.9)
  })

  test('neighbouring seeds do not give neighbouring numbers', () => {
    const first = Array.from({ length: 1000 }, (_, seed) => new RandomStream(seed).uniform())
    const mean = first.reduce((sum, value) => sum + value, 0) / first.length
    const covariance = first.slice(1).reduce((sum, value, index) => sum + (value - mean) * (first[index] - mean), 0) / 999
    expect(mean).toBeCloseTo(0.5, 1)
    expect(Math.abs(covariance) * 12).toBeLessThan(0.1)
  })

  test('normal numbers have mean 0 and variance 1', () => {
    const stream = new RandomStream(3)
    const draws = Array.from({ length: 20_000 }, () => stream.normal())
    const mean = draws.reduce((sum, value) => sum + value, 0) / draws.length
    const variance = draws.reduce((sum, value) => sum + (value - mean) ** 2, 0) / draws.length
    expect(Math.abs(mean)).toBeLessThan(0.03)
    expect(Math.abs(variance - 1)).toBeLessThan(0.05)
  })
})
