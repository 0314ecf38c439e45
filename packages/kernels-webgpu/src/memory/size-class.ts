/** Smallest piece of memory; a multiple of what the driver aligns to. */
const LEAST_BYTES = 512
/** Sizes between one power of two and the next: rounding up wastes at most an eighth. */
const STEPS = 8

/** The size that a request is rounded up to, so that requests of about the same size can share memory. */
export function sizeClass(bytes: number): number {
  if (bytes <= LEAST_BYTES) return LEAST_BYTES
  const power = 2 ** Math.floor(Math.log2(bytes))
  const step = Math.max(LEAST_BYTES, power / STEPS)
  return Math.ceil(bytes / step) * step
}
