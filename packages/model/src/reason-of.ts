import { shortened } from '@phsa/core'

/** What a library says about a file that it cannot work with, for a message; where it only stumbled, its words would say nothing to a reader. */
export function reasonOf(cause: unknown): string {
  if (cause instanceof TypeError || cause instanceof RangeError) return 'a part of it is not of the kind that is needed there'
  return shortened(cause instanceof Error ? cause.message : String(cause))
}
