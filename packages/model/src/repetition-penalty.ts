import type { HostArray } from '@phsa/core'

/**
 * Makes tokens that were seen less likely (CTRL): their logits are divided by the penalty where positive, else multiplied by it.
 * @param logits [V], changed in place
 * @param seen ids, each once
 */
export function penalizeSeen(logits: HostArray, seen: ReadonlySet<number>, penalty: number): void {
  for (const id of seen) logits[id] = logits[id] > 0 ? logits[id] / penalty : logits[id] * penalty
}
