import type { Tensor } from '@phsa/core'
import { bytesPerElement } from '@phsa/core'

const VECTOR_BYTES = 16

/** Elements of one 16-byte access: kVector of elements.cuh. */
export function vectorOf({ dtype }: Tensor): number {
  return VECTOR_BYTES / bytesPerElement[dtype]
}

/** Numbers of element types in parameter structs that mix them. */
export function typeNumber({ dtype }: Tensor): number {
  return dtype === 'f32' ? 0 : 1
}
