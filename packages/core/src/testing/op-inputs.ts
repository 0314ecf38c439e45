import { RandomStream } from '../random-stream.js'
import { normals } from './attention-inputs.js'
import type { OpTensor } from './op-case.js'
import { seedOf } from './seed-of.js'

/** Normal numbers that follow from the name and the shape. */
export function random(name: string, shape: readonly number[], scale = 1, kind: OpTensor['kind'] = 'activation'): OpTensor {
  const count = shape.reduce((product, extent) => product * extent, 1)
  return { data: normals(new RandomStream(seedOf(name + shape)), count, scale), shape, kind }
}

/** Ids, targets or positions. */
export function integers(values: readonly number[]): OpTensor {
  return { data: Int32Array.from(values), shape: [values.length], kind: 'i32' }
}

/** A tensor of the tested type that is added to. */
export function activation(shape: readonly number[]) {
  return { shape, kind: 'activation' } as const
}
