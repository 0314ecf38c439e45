/** Element types that matrix products take. */
export type ProductDType = 'bf16' | 'f32'

/** A matrix on the device. */
export interface MatrixOperand {
  readonly address: bigint
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
  /** Of both operands; f32 is not cut down to TF32. */
  readonly dtype: ProductDType
  readonly left: MatrixOperand
  readonly right: MatrixOperand
  readonly result: MatrixOperand & {
    /** `dtype`, or f32. */
    readonly dtype: ProductDType
    readonly transposed?: false
  }
  /** Adds to the result instead of writing it. */
  readonly accumulate?: boolean
}

/** Dense matrix products of one device. */
export interface MatrixProducts {
  /** Queues a product; nothing where the result has no elements. A depth of 0 gives zeros. Left and right are not both transposed. */
  multiply(product: MatrixProduct): void
  /** Gives back what is held on the host; no product may follow. */
  close(): void
}
