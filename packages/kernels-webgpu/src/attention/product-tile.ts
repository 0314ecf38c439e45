import type { GpuDevice } from '../device/gpu-device.js'

/** Rows and columns of a workgroup of product_tile.wgsl. */
export const TILE = 128
/** Workgroup memory of a stage. */
const STAGE_BYTES = 2 ** 14

/** STAGES of product_tile.wgsl: slices in workgroup memory, as many as it has room for. */
export function productStages({ gpu }: Pick<GpuDevice, 'gpu'>): number {
  return gpu.limits.maxComputeWorkgroupStorageSize >= 2 * STAGE_BYTES ? 2 : 1
}
