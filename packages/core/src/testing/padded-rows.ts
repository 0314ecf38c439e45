import type { HostArray } from '../contract/tensor.js'
import { constantCheck, type TensorCheck } from './tensor-check.js'

/** A host tensor [groups, rows, width] and the number of rows that a capacity makes of it. */
export interface RowShape {
  readonly groups: number
  readonly rows: number
  readonly capacity: number
  readonly width: number
}

/** [groups, rows, width] to [groups, capacity, width]; the new rows hold `fill`. */
export function padRows<A extends HostArray>(data: A, { groups, rows, capacity, width }: RowShape, fill: number): A {
  const padded = new (data.constructor as new (length: number) => A)(groups * capacity * width).fill(fill) as A
  for (let group = 0; group < groups; group++)
    padded.set(data.subarray(group * rows * width, (group + 1) * rows * width), group * capacity * width)
  return padded
}

/** The reverse: the used rows, and a check that the others hold `value` throughout (spec: see `Layout`). */
export function usedRows(
  name: string,
  data: HostArray,
  { groups, rows, capacity, width }: RowShape,
  value: number,
): { readonly used: HostArray; readonly checks: readonly TensorCheck[] } {
  // A wrong length is left to the comparison that follows, which reports it.
  if (rows === capacity || data.length !== groups * capacity * width) return { used: data, checks: [] }
  const used = data.slice(0, groups * rows * width)
  const rest: TensorCheck[] = []
  for (let group = 0; group < groups; group++) {
    const start = group * capacity * width
    used.set(data.subarray(start, start + rows * width), group * rows * width)
    rest.push(constantCheck(`${name} padding`, data.subarray(start + rows * width, start + capacity * width), value))
  }
  return { used, checks: [rest.find((check) => !check.ok) ?? rest[0]] }
}
