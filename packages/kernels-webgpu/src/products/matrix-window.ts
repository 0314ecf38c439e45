import type { BufferSlice } from '../device/kernel-launch.js'
import type { ElementType } from '../device/shader-part.js'
import type { MatrixOperand, MatrixProduct } from './matrix-product.js'

/** Bindings begin at multiples of this on every device. */
const ALIGNMENT = 256
/** Windows are multiples of this where they are larger, so that a wide product stays wide and tiles stay whole. */
const STEP = 128

/** Bytes of an element. */
export const ELEMENT_BYTES: Readonly<Record<ElementType, number>> = { f32: 4, f16: 2 }

/** Part of a matrix as a kernel binds it. */
export interface MatrixWindow {
  readonly slice: BufferSlice
  /** Elements before its first one. */
  readonly first: number
  readonly stride: number
}

/**
 * The rows in memory of a matrix, bound from the last allowed place before them.
 * @param width elements of a row
 */
export function windowOf({ slice, first, stride }: MatrixOperand, element: ElementType, rows: number, width: number): MatrixWindow {
  const size = ELEMENT_BYTES[element]
  const start = slice.offset + first * size
  const offset = start - (start % ALIGNMENT)
  const end = start + (rows > 0 ? (rows - 1) * stride + width : 0) * size
  const bytes = Math.max(4, Math.ceil((end - offset) / 4) * 4)
  return { slice: { storage: slice.storage, offset, bytes }, first: (start - offset) / size, stride }
}

/** The matrix from a row in memory and an element of it on. */
export function movedTo<M extends MatrixOperand>(matrix: M, row: number, element = 0): M {
  return { ...matrix, first: matrix.first + row * matrix.stride + element }
}

/** Rows in memory of a matrix that can be bound at once. */
export function rowsInWindow({ stride }: MatrixOperand, element: ElementType, mostBytes: number): number {
  const rows = Math.max(1, Math.floor((mostBytes - ALIGNMENT) / (Math.max(1, stride) * ELEMENT_BYTES[element])))
  return rows > STEP ? rows - (rows % STEP) : rows
}

/** The largest extents of a product whose matrices can each be bound whole. */
export function windowExtents(
  { element, left, right, result, ...extents }: MatrixProduct,
  mostBytes: number,
): { readonly rows: number; readonly columns: number; readonly depth: number } {
  const ofLeft = rowsInWindow(left, element, mostBytes)
  const ofRight = rowsInWindow(right, element, mostBytes)
  const ofResult = rowsInWindow(result, result.element, mostBytes)
  return {
    rows: Math.min(extents.rows, ofResult, left.transposed ? Infinity : ofLeft),
    columns: Math.min(extents.columns, right.transposed ? ofRight : Infinity),
    depth: Math.min(extents.depth, left.transposed ? ofLeft : Infinity, right.transposed ? Infinity : ofRight),
  }
}
