import fewRowsSource from '../../kernels/matmul_few_rows.wgsl?raw'
import { gridOf } from '../device/grid.js'
import { packParams } from '../device/param-layout.js'
import type { OpHost } from '../ops/op-host.js'
import type { MatrixProduct } from './matrix-product.js'
import { movedTo } from './matrix-window.js'
import { productBindings, productKernel } from './product-kernel.js'

/** `Params` of matmul_few_rows.wgsl. */
export const FewRowsParams = {
  rows: 'u32',
  columns: 'u32',
  depth: 'u32',
  accumulate: 'u32',
  leftFirst: 'u32',
  leftStride: 'u32',
  rightFirst: 'u32',
  rightStride: 'u32',
  resultFirst: 'u32',
  resultStride: 'u32',
} as const

const FEW_ROWS = { file: 'matmul_few_rows.wgsl', source: fewRowsSource }
/** Rows of one launch, and columns of one thread. */
const ROWS = 8
const COLUMNS = 4
const THREADS = 256

/** Products of up to so many rows read the right matrix more than once and are still faster than tiles. */
export const MOST_FEW_ROWS = 2 * ROWS

/** Queues a product of few rows: left as it is, right transposed. */
export function multiplyFewRows({ device }: OpHost, product: MatrixProduct): void {
  const { columns, depth, element, accumulate } = product
  for (let row = 0; row < product.rows; row += ROWS) {
    const rows = Math.min(ROWS, product.rows - row)
    const some = { ...product, rows, left: movedTo(product.left, row), result: movedTo(product.result, row) }
    const { bindings, places } = productBindings(some)
    const lanes = lanesOf(columns, depth)
    device.launch({
      kernel: productKernel('matmul_few_rows', [FEW_ROWS], some),
      element,
      constants: { LANES: lanes, ROWS: 2 ** Math.ceil(Math.log2(rows)) },
      bindings,
      params: packParams(FewRowsParams, { ...places, rows, columns, depth, accumulate: accumulate ? 1 : 0 }),
      grid: gridOf(Math.ceil(columns / (COLUMNS * (THREADS / lanes)))),
    })
  }
}

/** Threads that fill a large GPU. */
const WANTED_THREADS = 2 ** 17

/** Threads that share the depth of four columns: more where columns are few, with two loads of four elements each at least. */
function lanesOf(columns: number, depth: number): number {
  const wanted = (WANTED_THREADS * COLUMNS) / columns
  let lanes = 32
  while (lanes < THREADS && 2 * lanes <= wanted && 2 * lanes * 8 <= depth) lanes *= 2
  return lanes
}
