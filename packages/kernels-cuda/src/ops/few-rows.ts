import type { Tensor } from '@phsa/core'
import type { KernelDevice, KernelMemory } from '../attention/kernel-host.js'
import { packParams } from '../attention/param-layout.js'
import { FewRowsParams } from './op-params.js'

// As in few_rows.cu.
const THREADS = 256
const WARPS = 8
const TILE_COLUMNS = 8
const GROUP_ROWS = 16
const STEP = 64
const ROW_PAD_BYTES = 64
/** Tiles that a thread block may own: INSTANCE of few_rows.cu. */
const MOST_TILES = 4
/** Bytes of weights that a thread block holds at most, where one tile is not more: two kernels that follow each other should find room together. */
const MOST_WEIGHT_BYTES = 96 * 1024
/** Shared memory that the kernels declare by themselves, and what the driver takes of a thread block's. */
const OTHER_SHARED_BYTES = 2048
/** Rows at most, as measured on an H200: each 16 read the weights from shared memory once more, and a library's products catch up. */
const MOST_ROWS: Readonly<Record<FewRowsForm, number>> = { normed: 64, added: 16, gated: 16 }

/** What these products need of a device. */
export interface FewRowsDevice extends KernelDevice {
  /** Shared memory that a thread block may have at most. */
  readonly sharedBytes: number
}

/** x [rows, depth] times weights [columns, depth] transposed. */
export interface FewRowsProduct {
  readonly x: Tensor
  /** RMS norm weight of x, where the form norms. */
  readonly norm?: Tensor
  readonly epsilon?: number
  /** [rows, columns], where the form adds. */
  readonly residual?: Tensor
  readonly weights: readonly Tensor[]
  /** One a weight; of `gated`, one for both. */
  readonly results: readonly Tensor[]
}

/** What stands before and behind the product: `FewRows` of few_rows.cu. */
export type FewRowsForm = 'normed' | 'added' | 'gated'

/** Kernels that a product may follow before they have ended: none of them writes weights. */
const BEFORE = ['few_rows_', 'attend_']

/** How a product is shared out to thread blocks. */
interface Shares {
  readonly tilesOfBlock: number
  readonly steps: number
  readonly regionBytes: number
  /** Where in a region the sums lie: in the place of x, or behind it where the next rows of x come meanwhile. */
  readonly sumsAt: number
  readonly sharedBytes: number
}

/**
 * Whether the kernels take a product on this GPU.
 * @param rows of x
 * @param columns of each weight; a form that gates has two of them
 */
export function takesFewRows(device: FewRowsDevice, form: FewRowsForm, rows: number, depth: number, columns: readonly number[]): boolean {
  const isEven = [depth, ...columns].every((extent) => extent > 0 && extent % 8 === 0)
  if (rows > MOST_ROWS[form] || !isEven || !device.hasKernel(kernelOf(form, 1))) return false
  return hasRoom(device, sharesOf(device, form, rows, depth, tileCount(form, columns)))
}

/** Queues a product that `takesFewRows` has found to be one for these kernels; bf16 throughout. */
export function multiplyFewRows(device: FewRowsDevice, memory: KernelMemory, form: FewRowsForm, product: FewRowsProduct): void {
  const { x, norm, epsilon = 0, residual, weights, results } = product
  const [rows, depth] = [x.shape[0], weights[0].shape[1]]
  const columns = weights.map(({ shape }) => shape[0])
  const tiles = tileCount(form, columns)
  const { tilesOfBlock, steps, regionBytes, sumsAt, sharedBytes } = sharesOf(device, form, rows, depth, tiles)
  let firstTile = 0
  const parts = weights.map((weight, index) => {
    const part = {
      weight: memory.address(weight),
      y: memory.address(results[Math.min(index, results.length - 1)]),
      columns: columns[index],
      firstTile,
    }
    firstTile += columns[index] / TILE_COLUMNS
    return part
  })
  device.launch({
    kernel: kernelOf(form, tilesOfBlock),
    grid: [rows > 0 ? Math.ceil(tiles / tilesOfBlock) : 0, 1, 1],
    block: THREADS,
    sharedBytes,
    overlaps: BEFORE,
    params: packParams(FewRowsParams, {
      parts,
      x: memory.address(x),
      norm: norm ? memory.address(norm) : 0n,
      residual: residual ? memory.address(residual) : 0n,
      rows,
      depth,
      tiles,
      partsUsed: weights.length,
      steps,
      regionBytes,
      sumsAt,
      epsilon,
    }),
  })
}

/** Tiles of the results: two weights that gate have each tile together. */
function tileCount(form: FewRowsForm, columns: readonly number[]): number {
  const all = form === 'gated' ? columns[0] : columns.reduce((sum, count) => sum + count, 0)
  return all / TILE_COLUMNS
}

/** As many tiles a thread block as leave no multiprocessor two of them, or as many as have room. */
function sharesOf(device: FewRowsDevice, form: FewRowsForm, rows: number, depth: number, tiles: number): Shares {
  const steps = Math.ceil(depth / (WARPS * STEP))
  const weightsOfTile = form === 'gated' ? 2 : 1
  const paddedBytes = steps * WARPS * STEP * 2
  const tileBytes = weightsOfTile * TILE_COLUMNS * paddedBytes
  const normBytes = form === 'added' ? 0 : paddedBytes
  const rowsAtOnce = Math.min(rows, GROUP_ROWS)
  const shares = (tilesOfBlock: number): Shares => {
    const xBytes = rowsAtOnce * (steps * STEP * 2 + ROW_PAD_BYTES)
    const sumBytes = tilesOfBlock * weightsOfTile * rowsAtOnce * TILE_COLUMNS * 4
    const sumsAt = rows > GROUP_ROWS ? xBytes : 0
    const regionBytes = Math.max(xBytes, sumsAt + sumBytes)
    return { tilesOfBlock, steps, regionBytes, sumsAt, sharedBytes: tilesOfBlock * tileBytes + normBytes + WARPS * regionBytes }
  }
  const room = Math.min(MOST_TILES, Math.floor(MOST_WEIGHT_BYTES / tileBytes))
  let wanted = Math.min(Math.ceil(tiles / device.multiprocessors), room)
  while (wanted > 1 && !hasRoom(device, shares(wanted))) wanted--
  return shares(Math.max(1, wanted))
}

function hasRoom(device: FewRowsDevice, { sharedBytes }: Shares): boolean {
  return sharedBytes + OTHER_SHARED_BYTES <= device.sharedBytes
}

function kernelOf(form: FewRowsForm, tilesOfBlock: number): string {
  return `few_rows_${form}_bf16_t${tilesOfBlock}`
}
