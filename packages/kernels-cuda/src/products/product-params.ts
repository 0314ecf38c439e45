// The parameter struct of kernels/matmul.cu. A test reads the source and compares.

/** Of matmul. */
export const MatmulParams = {
  left: 'pointer',
  right: 'pointer',
  result: 'pointer',
  leftStride: 'i64',
  rightStride: 'i64',
  resultStride: 'i64',
  rows: 'i32',
  columns: 'i32',
  depth: 'i32',
  accumulate: 'i32',
} as const
