import type { HostArray } from '@phsa/core'

/** A result that is no number, so that its time means nothing. */
export class NotFiniteError extends Error {}

/** @throws NotFiniteError naming the first value */
export function requireFinite(what: string, values: HostArray): void {
  const index = values.findIndex((value) => !Number.isFinite(value))
  if (index >= 0) throw new NotFiniteError(`${what}: value ${index} of ${values.length} is ${values[index]}`)
}
