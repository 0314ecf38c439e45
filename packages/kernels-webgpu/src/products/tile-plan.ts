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
  /** Steps of depth that lie in workgroup memory. */
  readonly stages: 1 | 2
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
/** Workgroup memory of matmul_units.wgsl: tiles of both operands and four matrices of results. */
const UNITS_BYTES = 2 * 128 * 40 * 2 + 4 * 256 * 4
/** Depths of a step of matmul.wgsl and matmul_units.wgsl. */
const TILE_DEPTH = 16
const UNITS_DEPTH = 32
/** A part is no shorter: writing its sums and adding them costs about as much. */
const LEAST_PART_DEPTH = 256
/** Workgroups that fill a large GPU. */
const WANTED_WORKGROUPS: Readonly<Record<TilePlan['tile'], number>> = { 128: 192, 64: 512 }
/** Sums of all parts at most. */
const MOST_SUM_BYTES = 2 ** 26

/** Matrix units where they take the product; else large tiles where there are enough of them, and small ones where not. Few tiles share the depth. */
export function tilePlan(device: TileDevice, product: MatrixProduct): TilePlan {
  const { rows, columns, depth } = product
  const tilesOf = (tile: TilePlan['tile']) => Math.ceil(rows / tile) * Math.ceil(columns / tile)
  const units = fitsUnits(device, product)
  const tile = units || tilesOf(128) >= WANTED_WORKGROUPS[128] / 2 ? 128 : 64
  const stageBytes = 2 * tile * TILE_DEPTH * Float32Array.BYTES_PER_ELEMENT
  const wantedParts = Math.min(
    Math.floor(WANTED_WORKGROUPS[tile] / tilesOf(tile)),
    Math.floor(depth / LEAST_PART_DEPTH),
    Math.floor(MOST_SUM_BYTES / (rows * columns * ELEMENT_BYTES.f32)),
  )
  const step = units ? UNITS_DEPTH : TILE_DEPTH
  const partDepth = Math.max(step, Math.ceil(depth / Math.max(1, wantedParts) / step) * step)
  return {
    units,
    tile,
    stages: 2 * stageBytes <= device.gpu.limits.maxComputeWorkgroupStorageSize ? 2 : 1,
    parts: Math.max(1, Math.ceil(depth / partDepth)),
    partDepth,
  }
}

function fitsUnits({ hasMatrixUnits, subgroups, gpu }: TileDevice, product: MatrixProduct): boolean {
  return (
    hasMatrixUnits &&
    product.element === 'f16' &&
    subgroups?.min === UNITS_SUBGROUP &&
    subgroups.max === UNITS_SUBGROUP &&
    gpu.limits.maxComputeWorkgroupStorageSize >= UNITS_BYTES &&
    isWide(product)
  )
}
