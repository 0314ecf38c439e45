import type { GpuDevice } from '../device/gpu-device.js'
import type { MatrixProduct } from './matrix-product.js'
import { ELEMENT_BYTES } from './matrix-window.js'
import { isWide } from './product-kernel.js'

/** How a product is cut for the workgroups. */
export interface TilePlan {
  /** On matrix units, by matmul_units.wgsl. */
  readonly units: boolean
  /** Rows and columns of a tile. */
  readonly tile: 64 | 128
  /** Workgroups that share the depth of a tile. */
  readonly parts: number
  /** Depth of a part, a multiple of a step. */
  readonly partDepth: number
}

/** What decides about tiles. */
export interface TileDevice extends Pick<GpuDevice, 'hasMatrixUnits' | 'subgroups'> {
  readonly gpu: { readonly limits: Pick<GPUSupportedLimits, 'maxComputeWorkgroupStorageSize'> }
}

/** Invocations of a subgroup that matmul_units.wgsl is written for: their registers hold a quarter of a tile. */
export const UNITS_SUBGROUP = 32
/** Workgroup memory of matmul_units.wgsl: tiles of both operands, and a matrix of results for each subgroup. */
const UNITS_BYTES = 2 * 128 * 40 * 2 + 4 * 256 * 4
/** Depth of a step of product_squares.wgsl. */
export const TILE_DEPTH = 16
/** Depth of a step of matmul_units.wgsl. */
const UNITS_DEPTH = 32
/** A part is no shorter: writing its sums and adding them costs about as much. */
const LEAST_PART_DEPTH = 256
/** So many tiles keep a large GPU busy; fewer share the depth until there are as many workgroups as `WANTED_WORKGROUPS`, where it is deep enough. */
const ENOUGH_TILES: Readonly<Record<TilePlan['tile'], number>> = { 128: 256, 64: 256 }
const WANTED_WORKGROUPS: Readonly<Record<TilePlan['tile'], number>> = { 128: 384, 64: 512 }
/** Fewer workgroups than these leave a large GPU idle: small tiles make more. */
const LEAST_LARGE = 192
/** Sums of all parts at most. */
const MOST_SUM_BYTES = 2 ** 26

/** Matrix units where they take the product; else large tiles where there are enough of them, and small ones where not. Few tiles share the depth. */
export function tilePlan(device: TileDevice, product: MatrixProduct): TilePlan {
  if (fitsUnits(device, product)) return { units: true, tile: 128, ...partsOf(product, 128, UNITS_DEPTH) }
  const large = { units: false, tile: 128, ...partsOf(product, 128, TILE_DEPTH) } as const
  if (tilesOf(product, 128) * large.parts >= LEAST_LARGE) return large
  return { units: false, tile: 64, ...partsOf(product, 64, TILE_DEPTH) }
}

function tilesOf({ rows, columns }: MatrixProduct, tile: TilePlan['tile']): number {
  return Math.ceil(rows / tile) * Math.ceil(columns / tile)
}

/** @param step what the depth of a part is a multiple of */
function partsOf(product: MatrixProduct, tile: TilePlan['tile'], step: number): Pick<TilePlan, 'parts' | 'partDepth'> {
  const { rows, columns, depth } = product
  const tiles = tilesOf(product, tile)
  const wanted = Math.min(
    tiles >= ENOUGH_TILES[tile] ? 1 : Math.ceil(WANTED_WORKGROUPS[tile] / tiles),
    Math.floor(depth / LEAST_PART_DEPTH),
    Math.floor(MOST_SUM_BYTES / (rows * columns * ELEMENT_BYTES.f32)),
  )
  const partDepth = Math.max(step, Math.ceil(depth / Math.max(1, wanted) / step) * step)
  return { parts: Math.max(1, Math.ceil(depth / partDepth)), partDepth }
}

function fitsUnits({ hasMatrixUnits, subgroups, gpu }: TileDevice, product: MatrixProduct): boolean {
  return (
    hasMatrixUnits &&
    product.element === 'f16' &&
    // Transposed, matrix units are no faster.
    !product.left.transposed &&
    subgroups?.min === UNITS_SUBGROUP &&
    subgroups.max === UNITS_SUBGROUP &&
    gpu.limits.maxComputeWorkgroupStorageSize >= UNITS_BYTES &&
    isWide(product)
  )
}
