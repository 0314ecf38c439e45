/** Results of the driver (CUresult) that this package tells apart. */
export const Result = {
  success: 0,
  outOfMemory: 2,
  noDevice: 100,
  invalidDevice: 101,
  invalidContext: 201,
  noBinaryForGpu: 209,
  unsupportedPtxVersion: 222,
  notFound: 500,
  notReady: 600,
  illegalAddress: 700,
  launchFailed: 719,
  systemDriverMismatch: 803,
  compatNotSupported: 804,
  unknown: 999,
} as const

/**
 * Results after which the context answers nothing but the same: a kernel did something illegal, or the hardware failed.
 * 214 ECC, 220 NVLink, 226 contained fault, 700 illegal address, 702 launch timeout, 709 context destroyed, 710 assert, 714 stack fault,
 * 715 illegal instruction, 716 misaligned address, 717 address space, 718 program counter, 719 launch failed, 721 tensor memory leak, 999 unknown.
 */
const STICKY: readonly number[] = [214, 220, 226, 700, 702, 709, 710, 714, 715, 716, 717, 718, 719, 721, 999]

/** Whether the context is lost with this result. */
export function isSticky(result: number): boolean {
  return STICKY.includes(result)
}
