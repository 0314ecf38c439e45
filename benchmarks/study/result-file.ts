import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'

/** What every result says of how it came to be. */
export interface ResultOrigin {
  /** Names the settings; see `studyIdentity`. */
  readonly identity: string
  readonly seed: number
  readonly createdAt: string
  readonly commit: string
  readonly device: string
}

/**
 * A result that is there already; undefined where it is yet to be made.
 * @throws TypeError for one of other settings
 */
export function readResult<T extends ResultOrigin>(path: string, identity: string): T | undefined {
  if (!existsSync(path)) return undefined
  const result = JSON.parse(readFileSync(path, 'utf8')) as T
  if (result.identity === identity) return result
  throw new TypeError(`${path} was made with other settings; give another --out, or remove it.`)
}

/** Writes a result whole or not at all. */
export function writeResult(path: string, result: ResultOrigin): void {
  mkdirSync(dirname(path), { recursive: true })
  writeFileSync(`${path}.part`, `${JSON.stringify(result)}\n`)
  renameSync(`${path}.part`, path)
}
