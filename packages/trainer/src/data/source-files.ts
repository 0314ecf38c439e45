import { readdir, stat } from 'node:fs/promises'
import { basename, join, resolve } from 'node:path'
import { InvalidConfigError, InvalidFileError } from '@phsa/core'
import { splitOf } from './dataset-split.js'

/** What a file of documents is, by its name. */
export type SourceKind = 'text' | 'jsonl' | 'parquet'

/** A file of documents, as it was found. */
export interface SourceFile {
  readonly path: string
  /** Its name in manifests: from the folder that was given on, so that it does not depend on where that lies. */
  readonly name: string
  readonly kind: SourceKind
  readonly bytes: number
  /** Time of the last change, milliseconds since 1970. */
  readonly modified: number
}

const KINDS: readonly [ending: string, kind: SourceKind][] = [
  ['.txt', 'text'],
  ['.txt.gz', 'text'],
  ['.jsonl', 'jsonl'],
  ['.jsonl.gz', 'jsonl'],
  ['.parquet', 'parquet'],
]

const ENDINGS = KINDS.map(([ending]) => ending).join(', ')

/**
 * The files that sources stand for, in the order given; those of a dataset folder by name.
 * @param split which part of a folder is taken, by the names of its files as on the Hugging Face Hub
 * @throws InvalidFileError for a file of another kind, or a folder without the split; InvalidConfigError for no source; errors of the file system
 */
export async function listSourceFiles(sources: readonly string[], split = 'train'): Promise<SourceFile[]> {
  if (sources.length === 0) throw new InvalidConfigError('sources', `no source is given; give files (${ENDINGS}) or dataset folders.`)
  const lists = await Promise.all(
    sources.map(async (source) => ((await stat(source)).isDirectory() ? listFolder(source, split) : [await describeFile(source)])),
  )
  return lists.flat()
}

async function describeFile(path: string, name = basename(path)): Promise<SourceFile> {
  const kind = kindOf(path)
  if (!kind)
    throw new InvalidFileError(`${path} is of no known kind; files end in ${ENDINGS}. A JSON file with a record a line is a .jsonl.`)
  const status = await stat(path)
  if (!status.isFile()) throw new InvalidFileError(`${path} is no file; give files or dataset folders.`)
  return { path, name, kind, bytes: status.size, modified: Math.trunc(status.mtimeMs) }
}

async function listFolder(folder: string, split: string): Promise<SourceFile[]> {
  const names = await readdir(folder, { recursive: true })
  const inside = names
    .map((name) => name.replaceAll('\\', '/'))
    // Hidden folders hold version control and caches.
    .filter((name) => kindOf(name) && !name.split('/').some((part) => part.startsWith('.')))
    .sort()
  if (inside.length === 0) throw new InvalidFileError(`${folder} holds no file of documents; files end in ${ENDINGS}.`)
  const chosen = inside.filter((path) => splitOf(path) === split)
  if (chosen.length === 0) {
    const known = [...new Set(inside.map(splitOf))].join(', ')
    throw new InvalidFileError(`${folder} has no split ${JSON.stringify(split)}, but ${known}; name one of them, or give its files.`)
  }
  return Promise.all(chosen.map((path) => describeFile(join(folder, path), `${basename(resolve(folder))}/${path}`)))
}

function kindOf(path: string): SourceKind | undefined {
  return KINDS.find(([ending]) => path.endsWith(ending))?.[1]
}
