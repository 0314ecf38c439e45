import gridSource from '../../kernels/grid.wgsl?raw'
import sumSource from '../../kernels/matmul_sum.wgsl?raw'
import { read, write } from '../device/bindings.js'
import { gridOf } from '../device/grid.js'
import { packParams } from '../device/param-layout.js'
import type { OpHost } from '../ops/op-host.js'
import type { MatrixOperand, MatrixProduct } from './matrix-product.js'
import { movedTo, rowsInWindow, windowOf } from './matrix-window.js'
import { resultPart } from './product-kernel.js'

/** `Params` of matmul_sum.wgsl. */
export const MatmulSumParams = {
  rows: 'u32',
  columns: 'u32',
  parts: 'u32',
  partElements: 'u32',
  accumulate: 'u32',
  partFirst: 'u32',
  resultFirst: 'u32',
  resultStride: 'u32',
} as const

const GRID = { file: 'grid.wgsl', source: gridSource }
const SUM = { file: 'matmul_sum.wgsl', source: sumSource }
/** Elements a workgroup. */
const ELEMENTS = 1024

/** Sums over parts of a product's depth. */
export interface PartSums {
  readonly rows: number
  readonly columns: number
  readonly parts: number
  /** f32 [parts, rows, columns]. */
  readonly sums: MatrixOperand
  /** Of the product's operands, where its result may be f32. */
  readonly element: MatrixProduct['element']
  readonly result: MatrixProduct['result']
  readonly accumulate: boolean
}

/** Queues the addition of the parts in their order, with one rounding. @param mostBytes of a binding; several parts fit in one */
export function addParts(
  { device }: OpHost,
  { rows, columns, parts, sums, element, result, accumulate }: PartSums,
  mostBytes = device.gpu.limits.maxStorageBufferBindingSize,
): void {
  const most = parts > 1 ? rows : Math.min(rowsInWindow(sums, 'f32', mostBytes), rowsInWindow(result, result.element, mostBytes))
  for (let row = 0; row < rows; row += most) {
    const some = Math.min(most, rows - row)
    const partial = windowOf(movedTo(sums, row), 'f32', (parts - 1) * rows + some, columns)
    const target = windowOf(movedTo(result, row), result.element, some, columns)
    device.launch({
      kernel: { name: 'matmul_sum', parts: [GRID, resultPart(element, result.element), SUM] },
      element,
      constants: {},
      bindings: [read(partial.slice), write(target.slice)],
      params: packParams(MatmulSumParams, {
        rows: some,
        columns,
        parts,
        partElements: rows * columns,
        accumulate: accumulate ? 1 : 0,
        partFirst: partial.first,
        resultFirst: target.first,
        resultStride: target.stride,
      }),
      grid: gridOf(Math.ceil((some * columns) / ELEMENTS)),
    })
  }
}
