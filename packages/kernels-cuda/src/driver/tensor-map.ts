import type { CudaDriver } from './cuda-driver.js'

/**
 * How the tensor memory accelerator of Hopper sees an array and cuts boxes from it (CUtensorMap). Extents are elements, innermost first;
 * reads outside of the array give 0.
 */
export interface TensorMap {
  readonly dtype: 'bf16' | 'f32'
  readonly address: bigint
  readonly extents: readonly number[]
  /** Bytes from one index to the next, of every dimension but the innermost; multiples of 16. */
  readonly strides: readonly number[]
  readonly box: readonly number[]
  /** Bytes over which 16-byte pieces are permuted in shared memory, so that the rows of a column lie in different banks. */
  readonly swizzle: 0 | 32 | 64 | 128
}

// CUtensorMapDataType, CUtensorMapSwizzle, CUtensorMapL2promotion
const ELEMENT_TYPES = { f32: 7, bf16: 9 } as const
const SWIZZLES = { 0: 0, 32: 1, 64: 2, 128: 3 } as const
const PROMOTE_TO_256_BYTES = 3

/**
 * Writes a tensor map as a kernel takes it among its arguments.
 * @param target 128 bytes
 * @returns the driver's result
 */
export function encodeTensorMap(driver: CudaDriver, target: Uint8Array, map: TensorMap): number {
  const { address, extents, strides, box, swizzle, dtype } = map
  const rank = extents.length
  return driver.cuTensorMapEncodeTiled(
    target,
    ELEMENT_TYPES[dtype],
    rank,
    address,
    BigUint64Array.from(extents, BigInt),
    BigUint64Array.from(strides, BigInt),
    Uint32Array.from(box),
    new Uint32Array(rank).fill(1),
    0,
    SWIZZLES[swizzle],
    PROMOTE_TO_256_BYTES,
    0,
  )
}
