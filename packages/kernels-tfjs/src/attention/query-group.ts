/** Heads of one KV head in arrays [T, Hq, D]. */
export interface HeadGroup {
  /** Hq. */
  readonly heads: number
  /** First query head of the group. */
  readonly firstHead: number
  /** G. */
  readonly group: number
  readonly headDim: number
}

/** The query heads of KV head `kvHead`. */
export function headGroup({ heads, kvHeads, headDim }: { heads: number; kvHeads: number; headDim: number }, kvHead: number): HeadGroup {
  const group = heads / kvHeads
  return { heads, firstHead: kvHead * group, group, headDim }
}

/** The listed rows of a head group, head by head, times a factor: [G * rows, D]. A mask over the rows then serves every head. */
export function gatherGroup(
  values: Float32Array,
  { heads, firstHead, group, headDim }: HeadGroup,
  rows: Int32Array,
  factor = 1,
): Float32Array {
  const gathered = new Float32Array(group * rows.length * headDim)
  let target = 0
  for (let head = firstHead; head < firstHead + group; head++) {
    for (let index = 0; index < rows.length; index++) {
      const source = (rows[index] * heads + head) * headDim
      for (let d = 0; d < headDim; d++) gathered[target++] = values[source + d] * factor
    }
  }
  return gathered
}

/** Adds [G * rows, D], times a factor, to the listed rows of a head group. */
export function addGroup(
  values: Float32Array,
  { heads, firstHead, group, headDim }: HeadGroup,
  rows: Int32Array,
  change: Float32Array,
  factor = 1,
): void {
  let source = 0
  for (let head = firstHead; head < firstHead + group; head++) {
    for (let index = 0; index < rows.length; index++) {
      const target = (rows[index] * heads + head) * headDim
      for (let d = 0; d < headDim; d++) values[target + d] += change[source++] * factor
    }
  }
}

/** [rows, columns] -> [columns, rows]. */
export function transposed(matrix: Float32Array, rows: number, columns: number): Float32Array {
  const result = new Float32Array(matrix.length)
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) result[column * rows + row] = matrix[row * columns + column]
  }
  return result
}

/** first, first + 1, ... */
export function consecutive(first: number, count: number): Int32Array {
  const rows = new Int32Array(count)
  for (let index = 0; index < count; index++) rows[index] = first + index
  return rows
}
