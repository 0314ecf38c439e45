import matmulSource from '../../kernels/matmul.wgsl?raw'
import unitsSource from '../../kernels/matmul_units.wgsl?raw'
import { gridOf } from '../device/grid.js'
import { packParams } from '../device/param-layout.js'
import type { Kernel } from '../device/shader-part.js'
import type { OpHost } from '../ops/op-host.js'
import { addParts } from './add-parts.js'
import type { MatrixProduct } from './matrix-product.js'
import { ELEMENT_BYTES } from './matrix-window.js'
import { productBindings, productKernel } from './product-kernel.js'
import { squareParts } from './square-tiles.js'
import { TILE_DEPTH, type TilePlan, tilePlan, UNITS_SUBGROUP } from './tile-plan.js'

/** `Params` of matmul.wgsl and matmul_units.wgsl. */
export const MatmulParams = {
  rows: 'u32',
  columns: 'u32',
  depth: 'u32',
  parts: 'u32',
  partDepth: 'u32',
  partElements: 'u32',
  accumulate: 'u32',
  leftFirst: 'u32',
  leftStride: 'u32',
  rightFirst: 'u32',
  rightStride: 'u32',
  resultFirst: 'u32',
  resultStride: 'u32',
} as const

const MATMUL = { file: 'matmul.wgsl', source: matmulSource }
const UNITS = { file: 'matmul_units.wgsl', source: unitsSource, enables: ['subgroups', 'chromium_experimental_subgroup_matrix'] } as const

/** Queues a product in tiles. @param plan what the tiles are and how many workgroups share one */
export function multiplyTiles(host: OpHost, product: MatrixProduct, plan: TilePlan = tilePlan(host.device, product)): void {
  if (plan.parts === 1) {
    launch(host, product, plan)
    return
  }
  const { rows, columns, element, result, accumulate = false } = product
  host.memory.scratch(plan.parts * rows * columns * ELEMENT_BYTES.f32, (slice) => {
    const sums = { slice, first: 0, stride: columns, element: 'f32' } as const
    launch(host, { ...product, result: sums, accumulate: false }, plan)
    addParts(host, { rows, columns, parts: plan.parts, sums, element, result, accumulate })
  })
}

/** The kernel of a product in tiles, on matrix units or without. */
export function tileKernel(product: MatrixProduct, { units, tile }: Pick<TilePlan, 'units' | 'tile'>): Kernel {
  if (units) return productKernel('matmul_units', [UNITS], product)
  return productKernel(`matmul_${tile}`, [...squareParts(tile), MATMUL], product)
}

function launch({ device }: OpHost, product: MatrixProduct, plan: TilePlan): void {
  const { rows, columns, depth, element, left, right, accumulate } = product
  const { units, tile, parts, partDepth } = plan
  const { bindings, places } = productBindings(product, parts * rows)
  const layout = { LEFT_TRANSPOSED: left.transposed ? 1 : 0, RIGHT_TRANSPOSED: right.transposed ? 1 : 0 }
  device.launch({
    kernel: tileKernel(product, plan),
    element,
    constants: { ...layout, ...(units ? { SUBGROUP: UNITS_SUBGROUP } : { RAGGED_DEPTH: depth % TILE_DEPTH > 0 ? 1 : 0 }) },
    bindings,
    params: packParams(MatmulParams, {
      ...places,
      rows,
      columns,
      depth,
      parts,
      partDepth,
      partElements: rows * columns,
      accumulate: accumulate ? 1 : 0,
    }),
    grid: gridOf(Math.ceil(rows / tile) * Math.ceil(columns / tile) * parts),
  })
}
