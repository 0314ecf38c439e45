import { InvalidFileError } from '@phsa/core'
import type { ModelFiles } from './model-files.js'

/** A UTF-8 file; undefined where there is none. */
export async function readTextFile(files: ModelFiles, name: string): Promise<string | undefined> {
  const size = await files.size(name)
  return size === undefined ? undefined : new TextDecoder().decode(await files.read(name, 0, size))
}

/** A parsed JSON file; undefined where there is none. @throws InvalidFileError when it is not JSON */
export async function readJsonFile(files: ModelFiles, name: string): Promise<unknown> {
  const text = await readTextFile(files, name)
  if (text === undefined) return undefined
  try {
    return JSON.parse(text)
  } catch (cause) {
    throw new InvalidFileError(`${files.label}/${name}: it is not JSON; the file is damaged.`, { cause })
  }
}
