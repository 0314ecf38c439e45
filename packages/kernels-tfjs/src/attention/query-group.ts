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

/** The listed rows of a head group, times a factor: [rows * G, D], the heads of a row one after the other, as they lie. */
export function gatherGroup(values: Float32Array, heads: HeadGroup, rows: Int32Array, factor = 1): Float32Array {
  const length = heads.group * heads.headDim
  const gathered = new Float32Array(rows.length * length)
  for (let index = 0; index < rows.length; index++) {
    const source = firstElement(heads, rows[index])
    gathered.set(values.subarray(source, source + length), index * length)
  }
  if (factor !== 1) for (let at = 0; at < gathered.length; at++) gathered[at] *= factor
  return gathered
}

/** The listed rows of a head group of [T, Hq]: [rows * G]. */
export function gatherScalars(values: Float32Array, { heads, firstHead, group }: HeadGroup, rows: Int32Array): Float32Array {
  const gathered = new Float32Array(rows.length * group)
  for (let index = 0; index < rows.length; index++) {
    for (let head = 0; head < group; head++) gathered[index * group + head] = values[rows[index] * heads + firstHead + head]
  }
  return gathered
}

/** Adds [rows * G, D], times a factor, to the listed rows of a head group. */
export function addGroup(values: Float32Array, heads: HeadGroup, rows: Int32Array, change: Float32Array, factor = 1): void {
  const length = heads.group * heads.headDim
  for (let index = 0; index < rows.length; index++) {
    const target = firstElement(heads, rows[index])
    const source = index * length
    for (let at = 0; at < length; at++) values[target + at] += change[source + at] * factor
  }
}

/** Where a row of a head group begins. */
function firstElement({ heads, firstHead, headDim }: HeadGroup, row: number): number {
  return (row * heads + firstHead) * headDim
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
