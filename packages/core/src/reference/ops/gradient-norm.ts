import type { Reals } from '../host-layout.js'

/** Global L2 norm of all gradients, and the clip scale min(1, maxNorm / norm); 0 when the norm is not finite. */
export function gradientNorm(gradients: readonly Reals[], maxNorm: number): { norm: number; scale: number } {
  let squares = 0
  for (const gradient of gradients) for (const value of gradient) squares += value * value
  const norm = Math.sqrt(squares)
  if (!Number.isFinite(norm)) return { norm, scale: 0 }
  return { norm, scale: norm <= maxNorm ? 1 : maxNorm / norm }
}
