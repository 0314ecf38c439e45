import type { ApiKey } from './api-key.js'
import { KeyLimits } from './key-limits.js'

/** Who asks: an API key and what it may still use, or anybody where there are no keys. */
export interface Caller {
  /** Name of the API key. */
  readonly name: string | undefined
  /** Cached prompts are shared only with requests of the same salt. */
  readonly salt: string
  readonly limits: KeyLimits | undefined
}

/** Anybody, where no keys are configured. */
export const anybody: Caller = { name: undefined, salt: '', limits: undefined }

/** A caller for each key, kept as long as the server: it holds what is in use. */
export function callersOf(keys: readonly ApiKey[], now: () => number): ReadonlyMap<ApiKey, Caller> {
  return new Map(keys.map((key) => [key, { name: key.name, salt: key.sha256.toLowerCase(), limits: new KeyLimits(key, now) }]))
}
