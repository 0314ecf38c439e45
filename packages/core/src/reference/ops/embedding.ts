import { ShapeError } from '../../errors/shape-error.js'
import type { Reals } from '../host-layout.js'

/** Rows of a table [V, E] by id: [T, E]; -1 gives zeros. @throws ShapeError for an id that is no row */
export function embedding(table: Reals, ids: Int32Array, width: number): Float64Array {
  const out = new Float64Array(ids.length * width)
  for (const [row, id] of ids.entries()) {
    if (id === -1) continue
    checkId(id, row, table.length / width)
    out.set(table.subarray(id * width, (id + 1) * width), row * width)
  }
  return out
}

/** Gradient of `embedding`: dOut [T, E] summed by id in row order, [V, E]. @throws ShapeError for an id that is no row */
export function embeddingBackward(dOut: Reals, ids: Int32Array, width: number, vocabulary: number): Float64Array {
  const dTable = new Float64Array(vocabulary * width)
  for (const [row, id] of ids.entries()) {
    if (id === -1) continue
    checkId(id, row, vocabulary)
    for (let index = 0; index < width; index++) dTable[id * width + index] += dOut[row * width + index]
  }
  return dTable
}

function checkId(id: number, row: number, vocabulary: number): void {
  if (id >= 0 && id < vocabulary) return
  throw new ShapeError(`ids[${row}] is ${id}; the table has rows 0 to ${vocabulary - 1}, and -1 stands for a row of zeros.`)
}
