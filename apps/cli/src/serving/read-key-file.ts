import { type ApiKey, hashApiKey } from '@phsa/server'
import { readText } from '../read-text.js'
import { UsageError } from '../usage-error.js'

/** Shorter keys can be guessed. */
const LEAST_LETTERS = 16
const LIMITS: Readonly<Record<string, 'maxConcurrent' | 'tokensPerMinute'>> = {
  concurrent: 'maxConcurrent',
  'tokens-per-minute': 'tokensPerMinute',
}

/**
 * The keys of `--api-key-file`: a line each of `NAME KEY [concurrent=N] [tokens-per-minute=N]`, KEY being the key itself or `sha256:` and the 64
 * hexadecimal digits of its hash; empty lines do not count, nor what follows a word that begins with #. Messages never hold a key.
 * @throws UsageError naming the line; errors of the file system
 */
export async function readKeyFile(path: string): Promise<readonly ApiKey[]> {
  const lines = (await readText(path)).split(/\r?\n/)
  const keys = lines.flatMap((line, index) => {
    const words = line
      .replace(/(^|\s)#.*/, '')
      .split(/\s+/)
      .filter(Boolean)
    return words.length === 0 ? [] : [parseKey(words, `${path}:${index + 1}`)]
  })
  if (keys.length === 0) throw new UsageError(`${path} holds no key; give a line NAME KEY for each.`)
  return keys
}

function parseKey([name, key, ...limits]: readonly string[], place: string): ApiKey {
  if (key === undefined) throw new UsageError(`${place} has one word; a line is NAME KEY, or NAME sha256:HASH.`)
  const entries = limits.map((limit) => {
    const [, word, value] = /^([a-z-]+)=([1-9]\d{0,14})$/.exec(limit) ?? []
    if (!word || !Object.hasOwn(LIMITS, word)) {
      throw new UsageError(`${place} has a third word that is no limit; there is ${Object.keys(LIMITS).join('=N and ')}=N.`)
    }
    return [LIMITS[word], Number(value)]
  })
  return { name, sha256: hashOf(key, place), ...Object.fromEntries(entries) }
}

function hashOf(key: string, place: string): string {
  const [, hash] = /^sha256:(.*)$/.exec(key) ?? []
  if (hash === undefined) {
    if (key.length >= LEAST_LETTERS) return hashApiKey(key)
    throw new UsageError(
      `${place} has a key of ${key.length} letters; it needs at least ${LEAST_LETTERS}, such as openssl rand -hex 24 makes.`,
    )
  }
  if (/^[0-9a-f]{64}$/i.test(hash)) return hash.toLowerCase()
  throw new UsageError(`${place} has a hash that is none; after sha256: come 64 hexadecimal digits.`)
}
