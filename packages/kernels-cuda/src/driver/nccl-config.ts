/** Results of NCCL that this package tells apart. */
export const NcclResult = { success: 0, inProgress: 7 } as const

/** sizeof(ncclUniqueId). */
export const UNIQUE_ID_BYTES = 128

/** 2.18, the first whose configuration has all fields below. */
export const LEAST_NCCL = 21800
const CONFIG_BYTES = 48
const CONFIG_MAGIC = 0xcafebeef
/** Takes the default. */
const UNDEFINED = -(2 ** 31)

/** ncclConfig_t of a communicator whose calls return at once, for any NCCL from 2.18 on: later versions have more fields at the end. */
export function nonBlockingConfig(): Uint8Array {
  const view = new DataView(new ArrayBuffer(CONFIG_BYTES))
  view.setBigUint64(0, BigInt(CONFIG_BYTES), true)
  view.setUint32(8, CONFIG_MAGIC, true)
  view.setUint32(12, LEAST_NCCL, true)
  // blocking, then cgaClusterSize, minCTAs, maxCTAs, the pointer netName and splitShare.
  view.setInt32(16, 0, true)
  for (const offset of [20, 24, 28, 40]) view.setInt32(offset, UNDEFINED, true)
  return new Uint8Array(view.buffer)
}
