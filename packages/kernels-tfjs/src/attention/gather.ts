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
    gathered.set(values.subarray(source, source + headDim), index * headDim)
  }
  return gathered
}

/** The listed rows of a head as columns: [D, width], where columns past the last row are 0. */
export function gatherColumns({ values, heads, head, headDim }: HeadRows, rows: Int32Array, width: number): Float32Array {
  const gathered = new Float32Array(headDim * width)
  for (let first = 0; first < rows.length; first += TILE) {
    const end = Math.min(first + TILE, rows.length)
    for (let d = 0; d < headDim; d++) {
      for (let index = first; index < end; index++) gathered[d * width + index] = values[(rows[index] * heads + head) * headDim + d]
    }
  }
  return gathered
}

/** Adds [rows, D] to the listed rows of a head. */
export function addRows({ values, heads, head, headDim }: HeadRows, rows: Int32Array, change: Float32Array): void {
  for (let index = 0; index < rows.length; index++) {
    const target = (rows[index] * heads + head) * headDim
    const source = index * headDim
    for (let d = 0; d < headDim; d++) values[target + d] += change[source + d]
  }
}
