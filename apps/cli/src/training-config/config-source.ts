import { dirname, resolve } from 'node:path'
import { type Document, isMap, isNode, isScalar, isSeq, LineCounter, type Node, type Pair, parseDocument } from 'yaml'
import { readText } from '../read-text.js'
import { ConfigError, type SettingPath } from './config-problem.js'

/** Settings before they are checked, and where each was written. */
export interface ConfigSource {
  readonly value: unknown
  /** Folder that relative paths start from. */
  readonly base: string
  /** The place of a setting, or of the nearest one around it: "run.yaml:3:5". Undefined where nobody wrote it. */
  where(path: SettingPath): string | undefined
}

/**
 * Reads a file of settings: YAML, which JSON is too. Sections whose settings are all commented out count as left out.
 * @throws ConfigError at an error of syntax; what `readText` throws
 */
export async function readConfigFile(file: string): Promise<ConfigSource> {
  const text = await readText(file)
  const lines = new LineCounter()
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false, merge: true })
  const at = (offset: number) => {
    const { line, col } = lines.linePos(offset)
    return `${file}:${line}:${col}`
  }
  // One error of syntax makes others behind it: the first is the one to mend.
  const [error] = document.errors
  if (error?.code === 'MULTIPLE_DOCS') {
    const message = 'a second document begins here (---), and a file holds one run; give it a file of its own.'
    throw new ConfigError([{ path: [], message }], () => at(error.pos[0]))
  }
  if (error) throw noYaml(error, at(error.pos[0]))
  return {
    value: withoutNulls(plainValue(document, file)),
    base: dirname(resolve(file)),
    where: (path) => at(offsetOf(document.contents, path)),
  }
}

/** @throws ConfigError for an alias of nothing, aliases that would grow without measure, and what cannot be merged */
function plainValue(document: Document.Parsed, file: string): unknown {
  try {
    return document.toJS()
  } catch (error) {
    throw noYaml(error as Error, file)
  }
}

function noYaml({ message }: Error, where: string): ConfigError {
  return new ConfigError([{ path: [], message: `this is no valid YAML: ${message.replace(/\.$/, '')}.` }], () => where)
}

/** Offset of the key that a path ends with, or of the last part of the path that was written. */
function offsetOf(root: Node | null, path: SettingPath): number {
  let node: unknown = root
  let offset = root?.range?.[0] ?? 0
  for (const part of path) {
    if (isMap(node)) {
      const pair: Pair | undefined = node.items.find(({ key }) => isScalar(key) && key.value === part)
      if (!pair) return offset
      if (isNode(pair.key)) offset = pair.key.range?.[0] ?? offset
      node = pair.value
    } else if (isSeq(node)) {
      const item: unknown = node.items[Number(part)]
      if (!isNode(item)) return offset
      offset = item.range?.[0] ?? offset
      node = item
    } else {
      return offset
    }
  }
  return offset
}

function withoutNulls(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withoutNulls)
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(
    Object.entries(value)
      .filter(([, entry]) => entry !== null)
      .map(([key, entry]) => [key, withoutNulls(entry)]),
  )
}
