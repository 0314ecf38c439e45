/** Rows of one head in an array [rows, heads, D]. */
export interface HeadRows {
  readonly values: Float32Array
  readonly heads: number
  readonly head: number
  readonly headDim: number
}

/** Rows that are transposed together, so that reads and writes both stay in the first-level cache. */
const TILE = 16

/** The listed rows of a head: [rows, D]. */
export function gatherRows({ values, heads, head, headDim }: HeadRows, rows: Int32Array): Float32Array {
  const gathered = new Float32Array(rows.length * headDim)
  for (let index = 0; index < rows.length; index++) {
    const source = (rows[index] * heads + head) * headDim
    const target = index * headDim
    for (let d = 0; d < headDim; d++) gathered[target + d] = values[source + d]
  }
  return gathered
}

/** The listed rows of a head as columns: [D, width], where columns past the last row are 0. */
export function gatherColumns({ values, heads, head, headDim }: HeadRows, rows: Int32Array, width = rows.length): Float32Array {
  const gathered = new Float32Array(headDim * width)
  for (let first = 0; first < rows.length; first += TILE) {
    const end = Math.min(first + TILE, rows.length)
    for (let d = 0; d < headDim; d++) {
      for (let index = first; index < end; index++) gathered[d * width + index] = values[(rows[index] * heads + head) * headDim + d]
    }
  }
  return gathered
}

/** Adds columns [D, rows] to the listed rows of a head. */
export function addColumns({ values, heads, head, headDim }: HeadRows, rows: Int32Array, columns: Float32Array): void {
  const width = rows.length
  for (let first = 0; first < width; first += TILE) {
    const end = Math.min(first + TILE, width)
    for (let d = 0; d < headDim; d++) {
      for (let index = first; index < end; index++) values[(rows[index] * heads + head) * headDim + d] += columns[d * width + index]
    }
  }
}
