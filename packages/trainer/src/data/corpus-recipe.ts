import { stat } from 'node:fs/promises'
import { InvalidFileError } from '@phsa/core'
import { type HashOptions, hashFile } from './identities.js'
import type { SourceFile } from './source-files.js'
import type { ManifestSource, TokenManifest, TokenRecipe } from './token-manifest.js'

/** A recipe whose sources are found but not hashed yet. */
export type PlannedRecipe = Omit<TokenRecipe, 'sources'> & { readonly files: readonly SourceFile[] }

/**
 * The sources with their hashes. They are what tells two files apart; size and time only spare the reading where both are the same.
 * @throws the signal's reason; errors of the file system
 */
export async function hashSources(files: readonly SourceFile[], options: HashOptions): Promise<ManifestSource[]> {
  const sources: ManifestSource[] = []
  for (const { path, name, bytes, modified } of files) sources.push({ name, bytes, modified, sha256: await hashFile(path, options) })
  return sources
}

/** @throws InvalidFileError for a file that is not what it was when it was found */
export async function requireUnchanged(files: readonly SourceFile[]): Promise<void> {
  for (const { path, bytes, modified } of files) {
    const { size, mtimeMs } = await stat(path)
    if (size === bytes && Math.trunc(mtimeMs) === modified) continue
    throw new InvalidFileError(`${path} changed while it was tokenized; start again when nothing writes to it.`)
  }
}

/**
 * What a tokenized corpus was made from that differs from a recipe, in words; empty where it is of this recipe. A source of another time is
 * read and hashed: copies have other times, but the same content.
 * @throws the signal's reason; errors of the file system
 */
export async function recipeDifferences(written: TokenManifest, planned: PlannedRecipe, signal?: AbortSignal): Promise<string[]> {
  const settings: [what: string, there: unknown, here: unknown][] = [
    ['the tokenizer', written.tokenizer, planned.tokenizer],
    ['the separator', written.separatorId, planned.separatorId],
    ['the punctuation', written.punctuation ?? 'not named', planned.punctuation ?? 'not named'],
    ['the number of sources', written.sources.length, planned.files.length],
  ]
  if (planned.files.some(({ kind }) => kind !== 'text')) settings.push(['the text field', written.textField, planned.textField])
  const differences = settings
    .filter(([, there, here]) => there !== here)
    .map(([what, there, here]) => `${what} is ${there} there and ${here} here`)
  if (written.sources.length !== planned.files.length) return differences
  for (const [index, file] of planned.files.entries()) {
    const source = written.sources[index]
    if (source.name !== file.name) differences.push(`source ${index + 1} is ${source.name} there and ${file.name} here`)
    else if (source.bytes !== file.bytes) differences.push(`${file.name} has ${source.bytes} bytes there and ${file.bytes} here`)
    else if (source.modified !== file.modified && source.sha256 !== (await hashFile(file.path, { signal })))
      differences.push(`${file.name} has another content`)
  }
  return differences
}
