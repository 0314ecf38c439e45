import { expect, test } from 'vitest'
import { ropeAngles } from '../src/rope-tables.js'

test('a large position keeps its phase', () => {
  const headDim = 4
  const { cos, sin } = ropeAngles(100_001, headDim, 10_000)
  // Column 1 turns by position / theta^(2/4) = position / 100.
  expect(cos[100_000 * 2]).toBe(Math.fround(Math.cos(100_000)))
  expect(sin[99_999 * 2 + 1]).toBeCloseTo(Math.sin(999.99), 6)
  expect([...cos.subarray(0, 2), ...sin.subarray(0, 2)]).toEqual([1, 1, 0, 0])
})
