import { isDeepStrictEqual } from 'node:util'

// biome-ignore lint/suspicious/noExplicitAny: a schema is what its keywords say
type Schema = Record<string, any>

/** Whether a value is as a JSON schema says, by a reading of the keywords that the server takes, of its own. */
export function matchesSchema(value: unknown, schema: Schema, whole: Schema = schema): boolean {
  if (schema.$ref) {
    return matchesSchema(value, schema.$ref === '#' ? whole : whole.$defs[schema.$ref.replace('#/$defs/', '')], whole)
  }
  if (schema.anyOf && !schema.anyOf.some((member: Schema) => matchesSchema(value, member, whole))) return false
  if (schema.allOf && !schema.allOf.every((member: Schema) => matchesSchema(value, member, whole))) return false
  if ('const' in schema && !isDeepStrictEqual(value, schema.const)) return false
  // JSON has no -0.
  if (schema.enum && !schema.enum.some((entry: unknown) => isDeepStrictEqual(value, JSON.parse(JSON.stringify(entry))))) return false
  if (schema.type && ![schema.type].flat().some((type) => isOfType(value, type))) return false
  if (Array.isArray(value)) {
    return inRange(value.length, schema.minItems, schema.maxItems) && value.every((item) => matchesSchema(item, schema.items ?? {}, whole))
  }
  if (typeof value !== 'object' || value === null) return true
  const entries = Object.entries(value)
  return (
    (schema.required ?? []).every((name: string) => Object.hasOwn(value, name)) &&
    entries.every(([name, entry]) => {
      const own = schema.properties?.[name] ?? schema.additionalProperties ?? {}
      return own !== false && matchesSchema(entry, own, whole)
    })
  )
}

function inRange(count: number, least = 0, most = Number.POSITIVE_INFINITY): boolean {
  return count >= least && count <= most
}

function isOfType(value: unknown, type: string): boolean {
  if (type === 'integer') return Number.isInteger(value)
  if (type === 'null') return value === null
  if (type === 'array') return Array.isArray(value)
  if (type === 'object') return typeof value === 'object' && value !== null && !Array.isArray(value)
  return typeof value === type
}
