import { InvalidFileError } from '@phsa/core'
import type { ModelFiles } from './model-files.js'

/** Larger text is damage: the tokenizer.json of a vocabulary of 256,000 has 35 MB, and no engine holds more than about 500 MB in one string. */
const MAX_TEXT_BYTES = 256 * 1024 * 1024

/** Levels of a JSON file, with room to spare; what reads it may then go down without running out of stack. */
const MAX_JSON_DEPTH = 64

/** A UTF-8 file; undefined where there is none. @throws InvalidFileError when it is no text */
export async function readTextFile(files: ModelFiles, name: string): Promise<string | undefined> {
  const size = await files.size(name)
  if (size === undefined) return undefined
  if (size > MAX_TEXT_BYTES) {
    throw new InvalidFileError(
      `${files.label}/${name}: it has ${size} bytes; at most ${MAX_TEXT_BYTES} of text are read. The file is damaged.`,
    )
  }
  // Outside of what is caught: `fetch` fails with a TypeError too.
  const bytes = await files.read(name, 0, size)
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  } catch (cause) {
    throw new InvalidFileError(`${files.label}/${name}: it is not UTF-8 text; the file is damaged.`, { cause })
  }
}

/** A parsed JSON file; undefined where there is none. @throws InvalidFileError when it is not JSON, or nested beyond use */
export async function readJsonFile(files: ModelFiles, name: string): Promise<unknown> {
  const text = await readTextFile(files, name)
  return text === undefined ? undefined : parseJson(text, `${files.label}/${name}`)
}

function parseJson(text: string, label: string): unknown {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (cause) {
    throw new InvalidFileError(`${label}: it is not JSON; the file is damaged.`, { cause })
  }
  requireShallow(value, label)
  return value
}

/** @throws InvalidFileError for a parsed JSON value that is nested deeper than any file of a model */
export function requireShallow(value: unknown, label: string): void {
  let level = [value]
  for (let depth = 0; level.length > 0; depth++) {
    if (depth > MAX_JSON_DEPTH)
      throw new InvalidFileError(`${label}: it is nested deeper than ${MAX_JSON_DEPTH} levels; the file is damaged.`)
    level = level.flatMap((entry) => (typeof entry === 'object' && entry !== null ? Object.values(entry).filter(isObject) : []))
  }
}

function isObject(value: unknown): boolean {
  return typeof value === 'object' && value !== null
}
