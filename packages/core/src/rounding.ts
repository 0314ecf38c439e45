import type { DType, HostArray } from './contract/tensor.js'

/** What rounding to a binary floating-point type needs to know. */
interface FloatFormat {
  /** Bits of the significand, the hidden one included. */
  readonly precision: number
  /** Exponent of the smallest normal number; below it the spacing stays the same (subnormals). */
  readonly leastExponent: number
  readonly largest: number
}

const BF16: FloatFormat = { precision: 8, leastExponent: -126, largest: (2 - 2 ** -7) * 2 ** 127 }
const F16: FloatFormat = { precision: 11, leastExponent: -14, largest: 65504 }

/** Adding and taking it away rounds a number below 2^51 to an integer, ties to even, because doubles at 2^52 have a spacing of 1. */
const INTEGER_SPACING = 1.5 * 2 ** 52

/** Nearest bf16, ties to even, straight from float64 (no double rounding); beyond the largest, Infinity. */
export function roundToBf16(value: number): number {
  return roundToFormat(value, BF16)
}

/** Nearest f16, ties to even, with subnormals, straight from float64; from 65520 on, Infinity. */
export function roundToF16(value: number): number {
  return roundToFormat(value, F16)
}

/** Nearest value of an element type, ties to even. i32 takes integers as they are. */
export function roundToType(value: number, dtype: DType): number {
  if (dtype === 'bf16') return roundToBf16(value)
  if (dtype === 'f16') return roundToF16(value)
  return dtype === 'f32' ? Math.fround(value) : value
}

/** A new host array of the type's form, each element rounded once: Float32Array of rounded values for 16-bit types. */
export function roundArray(values: ArrayLike<number>, dtype: DType): HostArray {
  if (dtype === 'i32') return Int32Array.from(values)
  if (dtype === 'f64') return Float64Array.from(values)
  // A typed array as source converts in one native pass.
  if (dtype === 'f32') return new Float32Array(values)
  const rounded = new Float32Array(values.length)
  const format = dtype === 'bf16' ? BF16 : F16
  for (let index = 0; index < values.length; index++) rounded[index] = roundToFormat(values[index], format)
  return rounded
}

function roundToFormat(value: number, { precision, leastExponent, largest }: FloatFormat): number {
  if (value === 0 || !Number.isFinite(value)) return value
  const magnitude = Math.abs(value)
  // log2 may be off by one beside a power of two; the value then rounds to that power with either spacing.
  const exponent = Math.max(Math.floor(Math.log2(magnitude)), leastExponent)
  const spacing = 2 ** (exponent - precision + 1)
  const rounded = (magnitude / spacing + INTEGER_SPACING - INTEGER_SPACING) * spacing
  const bounded = rounded > largest ? Number.POSITIVE_INFINITY : rounded
  return value < 0 ? -bounded : bounded
}
