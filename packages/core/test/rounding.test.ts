import { expect, test } from 'vitest'
import { roundArray, roundToBf16, roundToF16, roundToType } from '../src/index.js'

test('bf16 keeps eight significant bits, ties to even', () => {
  expect(roundToBf16(1 + 2 ** -8)).toBe(1)
  expect(roundToBf16(1 + 3 * 2 ** -8)).toBe(1 + 2 ** -6)
  expect(roundToBf16(-(1 + 2 ** -8 + 2 ** -40))).toBe(-(1 + 2 ** -7))
  expect(roundToBf16(2 ** 127 * (2 - 2 ** -8))).toBe(Number.POSITIVE_INFINITY)
  expect(roundToBf16(2 ** 127 * (2 - 2 ** -8 - 2 ** -20))).toBe(2 ** 127 * (2 - 2 ** -7))
  expect(roundToBf16(2 ** -133)).toBe(2 ** -133)
  expect(roundToBf16(2 ** -134)).toBe(0)
})

test('bf16 rounds float64 once, not first to float32', () => {
  // Just above a tie by less than float32 resolves: float32 would land on the tie, which goes down to even.
  expect(roundToBf16(1 + 2 ** -8 + 2 ** -30)).toBe(1 + 2 ** -7)
})

test('f16 keeps eleven significant bits, has subnormals and overflows from 65520', () => {
  expect(roundToF16(1 + 2 ** -11)).toBe(1)
  expect(roundToF16(1 + 3 * 2 ** -11)).toBe(1 + 2 ** -9)
  expect(roundToF16(65519.9)).toBe(65504)
  expect(roundToF16(65520)).toBe(Number.POSITIVE_INFINITY)
  expect(roundToF16(-1e9)).toBe(Number.NEGATIVE_INFINITY)
  expect(roundToF16(3 * 2 ** -24)).toBe(3 * 2 ** -24)
  expect(roundToF16(2.5 * 2 ** -24)).toBe(2 * 2 ** -24)
  expect(roundToF16(2 ** -25)).toBe(0)
  expect(Object.is(roundToF16(-(2 ** -26)), -0)).toBe(true)
})

test.each([roundToBf16, roundToF16])('%o keeps zeros, infinities, NaN and every power of two in range', (round) => {
  expect(Object.is(round(-0), -0)).toBe(true)
  expect(round(Number.NEGATIVE_INFINITY)).toBe(Number.NEGATIVE_INFINITY)
  expect(round(Number.NaN)).toBeNaN()
  for (let exponent = -14; exponent <= 15; exponent++) {
    const power = 2 ** exponent
    expect(round(power)).toBe(power)
    expect(round(power * (1 - 2 ** -53))).toBe(power)
    expect(round(power * (1 + 2 ** -52))).toBe(power)
  }
})

test('every 16-bit pattern of f16 is a fixed point', () => {
  for (let exponent = -14; exponent <= 15; exponent++) {
    for (let fraction = 0; fraction < 1024; fraction++) {
      const normal = 2 ** exponent * (1 + fraction / 1024)
      expect(roundToF16(normal)).toBe(normal)
    }
  }
})

test('arrays round to the host form of their type', () => {
  const values = [0.1, 70000, 3]
  expect(roundArray(values, 'f64')).toEqual(Float64Array.from(values))
  expect(roundArray(values, 'f32')).toEqual(Float32Array.from(values))
  expect(roundArray([1, -1], 'i32')).toEqual(Int32Array.of(1, -1))
  expect(roundArray(values, 'f16')).toEqual(Float32Array.of(roundToF16(0.1), Number.POSITIVE_INFINITY, 3))
  expect(roundArray(values, 'bf16')).toEqual(Float32Array.from(values, (value) => roundToType(value, 'bf16')))
})
