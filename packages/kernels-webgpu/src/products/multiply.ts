import type { OpHost } from '../ops/op-host.js'
import { addParts } from './add-parts.js'
import { MOST_FEW_ROWS, multiplyFewRows } from './few-rows.js'
import type { MatrixProduct } from './matrix-product.js'
import { ELEMENT_BYTES, movedTo, windowExtents } from './matrix-window.js'
import { multiplyTiles } from './tiles.js'

/**
 * Queues a product; nothing where the result has no elements. A depth of 0 gives zeros. Matrices larger than a binding are worked in windows of their rows.
 * @param mostBytes of a binding
 */
export function multiply(host: OpHost, product: MatrixProduct, mostBytes = host.device.gpu.limits.maxStorageBufferBindingSize): void {
  const { rows, columns, depth, result, accumulate = false } = product
  if (rows === 0 || columns === 0 || (depth === 0 && accumulate)) return
  const most = windowExtents(product, mostBytes)
  if (depth > most.depth && result.element !== 'f32') {
    // Rounded once, however many windows add to it.
    host.memory.scratch(rows * columns * ELEMENT_BYTES.f32, (slice) => {
      const sums = { slice, first: 0, stride: columns, element: 'f32' } as const
      multiply(host, { ...product, result: sums, accumulate: false }, mostBytes)
      addParts(host, { rows, columns, parts: 1, sums, element: product.element, result, accumulate }, mostBytes)
    })
    return
  }
  for (let row = 0; row < rows; row += most.rows) {
    for (let column = 0; column < columns; column += most.columns) {
      for (let step = 0; step === 0 || step < depth; step += most.depth) {
        multiplyWindow(host, {
          ...product,
          rows: Math.min(most.rows, rows - row),
          columns: Math.min(most.columns, columns - column),
          depth: Math.min(most.depth, depth - step),
          left: product.left.transposed ? movedTo(product.left, step, row) : movedTo(product.left, row, step),
          right: product.right.transposed ? movedTo(product.right, column, step) : movedTo(product.right, step, column),
          result: movedTo(result, row, column),
          accumulate: accumulate || step > 0,
        })
      }
    }
  }
}

/** A product whose matrices can be bound. */
function multiplyWindow(host: OpHost, product: MatrixProduct): void {
  const { rows, left, right, result } = product
  if (rows > MOST_FEW_ROWS || left.transposed || !right.transposed) {
    multiplyTiles(host, product)
    return
  }
  multiplyFewRows(host, { ...product, left, right, result })
}
