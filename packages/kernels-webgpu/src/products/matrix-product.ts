import type { BufferSlice } from '../device/kernel-launch.js'
import type { ElementType } from '../device/shader-part.js'

/** A matrix on the device. */
export interface MatrixOperand {
  readonly slice: BufferSlice
  /** Elements before the matrix, from the slice's beginning. */
  readonly first: number
  /** Elements from one row in memory to the next. */
  readonly stride: number
  /** Whether the rows in memory are the columns of the matrix. */
  readonly transposed?: boolean
}

/** result [rows, columns] = left [rows, depth] right [depth, columns], summed in f32 and rounded once. */
export interface MatrixProduct {
  readonly rows: number
  readonly columns: number
  readonly depth: number
  /** Of both operands. */
  readonly element: ElementType
  readonly left: MatrixOperand
  readonly right: MatrixOperand
  readonly result: MatrixOperand & {
    /** `element`, or f32. */
    readonly element: ElementType
    readonly transposed?: false
  }
  /** Adds to the result instead of writing it. */
  readonly accumulate?: boolean
}
