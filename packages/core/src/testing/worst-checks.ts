import type { TensorCheck } from './tensor-check.js'

/** Of checks with the same name, the one nearest to its bound or furthest beyond it. */
export function worstChecks(checks: readonly TensorCheck[]): TensorCheck[] {
  const worst = new Map<string, TensorCheck>()
  for (const check of checks) {
    const known = worst.get(check.name)
    if (!known || severity(check) > severity(known)) worst.set(check.name, check)
  }
  return [...worst.values()]
}

function severity({ ok, measured, bound }: TensorCheck): number {
  if (!ok) return Number.POSITIVE_INFINITY
  return bound === 0 ? 0 : measured / bound
}
