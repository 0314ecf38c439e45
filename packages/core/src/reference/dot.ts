import type { Reals } from './host-layout.js'

/** Inner product of `length` elements of a and b from their offsets, in float64. */
export function dot(a: Reals, aOffset: number, b: Reals, bOffset: number, length: number): number {
  let sum = 0
  for (let index = 0; index < length; index++) sum += a[aOffset + index] * b[bOffset + index]
  return sum
}
