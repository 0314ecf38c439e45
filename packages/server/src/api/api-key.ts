import { createHash, timingSafeEqual } from 'node:crypto'
import { InvalidConfigError } from '@phsa/core'

/** A key that requests may carry; only its hash is known here. */
export interface ApiKey {
  /** Shown in logs and metrics. */
  readonly name: string
  /** SHA-256 of the key, 64 hexadecimal digits; `hashApiKey` makes it. */
  readonly sha256: string
  /** Texts that are made at once; default: no limit. */
  readonly maxConcurrent?: number
  /** Prompt and generated tokens; default: no limit. */
  readonly tokensPerMinute?: number
}

/**
 * SHA-256 of a key in hexadecimal digits, as lists of keys hold it.
 * @throws InvalidConfigError for a key that no header can carry; an empty one would let in everybody
 */
export function hashApiKey(key: string): string {
  if (!/^[!-~]+$/.test(key))
    throw new InvalidConfigError('key', 'an API key must be of at least one letter, digit or sign of ASCII, without blanks.')
  return createHash('sha256').update(key, 'utf8').digest('hex')
}

/** Finds the key that a request carries, in a time that does not depend on how much of it is right. */
export class ApiKeys {
  readonly #keys: readonly { readonly key: ApiKey; readonly hash: Buffer }[]

  /** @throws InvalidConfigError for a hash that is none, a name or hash that is there twice, a limit below 1 */
  constructor(keys: readonly ApiKey[]) {
    for (const [index, { name, sha256, maxConcurrent = 1, tokensPerMinute = 1 }] of keys.entries()) {
      if (!/^[0-9a-f]{64}$/i.test(sha256)) {
        throw new InvalidConfigError(
          `keys[${index}].sha256`,
          `the key ${name} has no SHA-256 of 64 hexadecimal digits; make it with hashApiKey.`,
        )
      }
      if (keys.findIndex((other) => other.name === name || other.sha256.toLowerCase() === sha256.toLowerCase()) !== index) {
        throw new InvalidConfigError(`keys[${index}]`, `the key ${name} is there twice, by its name or its hash; each needs its own.`)
      }
      for (const [limit, value] of Object.entries({ maxConcurrent, tokensPerMinute })) {
        if (!Number.isInteger(value) || value < 1) {
          throw new InvalidConfigError(
            `keys[${index}].${limit}`,
            `the key ${name} has ${limit} ${value}; it must be an integer of at least 1.`,
          )
        }
      }
    }
    this.#keys = keys.map((key) => ({ key, hash: Buffer.from(key.sha256, 'hex') }))
  }

  /** Whether requests need a key. */
  get required(): boolean {
    return this.#keys.length > 0
  }

  /** @param authorization the header: `Bearer KEY` */
  find(authorization: string | undefined): ApiKey | undefined {
    const [, key] = /^Bearer +(\S+) *$/i.exec(authorization ?? '') ?? []
    if (key === undefined) return undefined
    const hash = createHash('sha256').update(key, 'utf8').digest()
    let found: ApiKey | undefined
    // Every key is compared, the right one too: where it stands in the list must not show.
    for (const entry of this.#keys) if (timingSafeEqual(entry.hash, hash)) found = entry.key
    return found
  }
}
