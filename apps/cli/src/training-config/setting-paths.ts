import { resolve } from 'node:path'

/** Settings that are paths, or lists of them. */
export const PATH_SETTINGS: readonly string[] = [
  'out',
  'run.model',
  'run.tokenizer',
  'data.sources',
  'data.tokens',
  'validation.path',
  'evaluation.path',
  'evaluation.choices',
]

/** Whether a setting is a path. */
export function isPathSetting(setting: string): boolean {
  return PATH_SETTINGS.includes(setting)
}

/** Settings whose paths are absolute. @param base folder that relative ones start from */
export function withAbsolutePaths(value: unknown, base: string): unknown {
  const result = structuredClone(value)
  for (const setting of PATH_SETTINGS) {
    const names = setting.split('.')
    const last = names[names.length - 1]
    const parent = names.slice(0, -1).reduce<unknown>((node, name) => (isRecord(node) ? node[name] : undefined), result)
    if (isRecord(parent) && Object.hasOwn(parent, last)) parent[last] = absolute(parent[last], base)
  }
  return result
}

function absolute(value: unknown, base: string): unknown {
  if (Array.isArray(value)) return value.map((entry) => absolute(entry, base))
  // A source may be a path, or have one beside other settings.
  if (isRecord(value) && Object.hasOwn(value, 'path')) return { ...value, path: absolute(value.path, base) }
  // An empty path would become the base: the parser refuses it as it is.
  return typeof value === 'string' && value !== '' ? resolve(base, value) : value
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
