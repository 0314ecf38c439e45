import type { AttentionSpec } from '@phsa/core'
import type { GpuDevice } from '../device/gpu-device.js'

/** Workgroup memory that tiles of 64 owned rows need, and that most devices have; WebGPU promises half of it. */
const WIDE_TILE_BYTES = 32768
const WIDE_OWNED = 64
const NARROW_OWNED = 16
/** Vectors that a thread may stage at a time in addTile. */
const MOST_ROW_LOADS = 8
/** Vectors of 4 floats that rows take at a time in addTile. */
const STAGED_VECTORS = 512

/** Extents of gradient_tiles.wgsl, its `override` constants. */
export interface GradientTile {
  readonly HEAD_DIM: number
  /** Rows that a workgroup sums up for: at least 16, the most heads of a KV head, but for small blocks. */
  readonly OWNED: number
  readonly WALKED: number
  readonly CHUNK_PARTS: number
  readonly STAGED_ROWS: number
}

/** The tile for a spec and a device, with at most `mostOwned` rows of its own. */
export function gradientTile({ headDim }: AttentionSpec, { gpu }: GpuDevice, mostOwned = WIDE_OWNED): GradientTile {
  const owned = Math.min(mostOwned, gpu.limits.maxComputeWorkgroupStorageSize >= WIDE_TILE_BYTES ? WIDE_OWNED : NARROW_OWNED)
  const walked = headDim === 32 ? 32 : 64
  const threads = (owned * walked) / 16
  const stagedVectors = Math.min(STAGED_VECTORS, MOST_ROW_LOADS * threads)
  return {
    HEAD_DIM: headDim,
    OWNED: owned,
    WALKED: walked,
    CHUNK_PARTS: owned === WIDE_OWNED ? 8 : 4,
    STAGED_ROWS: Math.min(walked, stagedVectors / (headDim / 4)),
  }
}
