import { shortened } from '@phsa/core'
import { ApiError } from './api-error.js'

/** Entries of a list or object, and levels, that requests have use for. */
const MOST_ENTRIES = 8192
const MOST_LEVELS = 64

/** Lists of token ids: as long as they like, because their schema looks at them in one go. */
const LONG_LISTS: ReadonlySet<string> = new Set(['prompt', 'tokens'])

/**
 * Refuses bodies that are made to be expensive: a schema notes something about every entry that is wrong, and templates call themselves for
 * every level.
 * @throws ApiError 400
 */
export function requireModestJson(body: unknown): void {
  const open: { value: unknown; level: number; param: string }[] = [{ value: body, level: 0, param: '' }]
  for (let next = open.pop(); next; next = open.pop()) {
    const { value, level, param } = next
    if (typeof value !== 'object' || value === null) continue
    if (level > MOST_LEVELS) refuse(param, `is nested deeper than ${MOST_LEVELS} levels, the most that are taken`)
    // Token ids may be nested once: several prompts.
    if (LONG_LISTS.has(param) && Array.isArray(value) && level <= 2 && value.every((entry) => typeof entry === 'number')) continue
    const entries = Object.entries(value)
    if (entries.length > MOST_ENTRIES) refuse(param, `has ${entries.length} entries; at most ${MOST_ENTRIES} are taken`)
    const isBody = level === 0 && !Array.isArray(value)
    for (const [name, entry] of entries) open.push({ value: entry, level: level + 1, param: isBody ? name : param })
  }
}

/** @param param empty for the body itself */
function refuse(param: string, what: string): never {
  const details = { ...(param !== '' && { param }), code: 'invalid_parameter' }
  throw new ApiError(400, `${param === '' ? 'the body' : shortened(param)} ${what}.`, details)
}
