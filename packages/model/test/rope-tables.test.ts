import { expect, test } from 'vitest'
import { ropeAngles } from '../src/rope-tables.js'

test('a large position keeps its phase', () => {
  const headDim = 4
  const { cos, sin } = ropeAngles(1_000_000, { headDim, ropeTheta: 10_000 })
  // Column 1 turns by position / theta^(2/4) = position / 100.
  for (const position of [99_999, 123_457, 999_936, 999_999]) {
    expect(cos[position * 2]).toBe(Math.fround(Math.cos(position)))
    expect(sin[position * 2]).toBe(Math.fround(Math.sin(position)))
    expect(cos[position * 2 + 1]).toBeCloseTo(Math.cos(position / 100), 7)
    expect(sin[position * 2 + 1]).toBeCloseTo(Math.sin(position / 100), 7)
  }
  expect([...cos.subarray(0, 2), ...sin.subarray(0, 2)]).toEqual([1, 1, 0, 0])
})

test('angles held in f32 would lose it', () => {
  const { cos } = ropeAngles(1_000_000, { headDim: 8, ropeTheta: 10_000 })
  const positions = Array.from({ length: 64 }, (_, index) => 999_936 + index)
  const largest = (values: number[]) => Math.max(...values.map(Math.abs))
  // Column 1 of 4 turns by position / 10.
  const single = (position: number) => Math.cos(Math.fround(position * Math.fround(0.1)))
  expect(largest(positions.map((position) => cos[position * 4 + 1] - Math.cos(position / 10)))).toBeLessThan(1e-7)
  expect(largest(positions.map((position) => single(position) - Math.cos(position / 10)))).toBeGreaterThan(1e-3)
})
