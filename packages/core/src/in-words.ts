/** Characters of a string, and entries of a list or object, that are shown. */
const MOST_CHARACTERS = 120
const MOST_ENTRIES = 16
const MOST_DEPTH = 3

/**
 * A parsed value as error messages show it: like JSON, but NaN and Infinity by their names, "missing" for undefined, and cut where it is long or deeply
 * nested, because a damaged file may hold anything.
 */
export function inWords(value: unknown): string {
  return words(value, MOST_DEPTH)
}

function words(value: unknown, depth: number): string {
  if (value === undefined) return 'missing'
  if (typeof value === 'string') return JSON.stringify(shortened(value))
  if (typeof value !== 'object' || value === null) return String(value)
  if (depth === 0) return Array.isArray(value) ? '[…]' : '{…}'
  const entries = Object.entries(value)
  const shown = entries.slice(0, MOST_ENTRIES).map(([key, entry]) => {
    const text = words(entry, depth - 1)
    return Array.isArray(value) ? text : `${JSON.stringify(shortened(key))}:${text}`
  })
  const inside = [...shown, ...(entries.length > MOST_ENTRIES ? ['…'] : [])].join(',')
  return Array.isArray(value) ? `[${inside}]` : `{${inside}}`
}

/** A name out of a file as error messages show it: cut where it is long. */
export function shortened(text: string): string {
  return text.length > MOST_CHARACTERS ? `${text.slice(0, MOST_CHARACTERS)}…` : text
}
