import type { Reals } from '../host-layout.js'

/** a + b, element by element. */
export function add(a: Reals, b: Reals): Float64Array {
  return Float64Array.from(a, (value, index) => value + b[index])
}
