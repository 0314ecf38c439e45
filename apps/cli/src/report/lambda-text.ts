import type { PhsaConfig } from '@phsa/core'

/** Lambda in words: a number, or that it differs by head. */
export function lambdaText(lambda: PhsaConfig['lambda']): string {
  return typeof lambda === 'number' ? String(lambda) : 'of its own for each head'
}
