import { statSync } from 'node:fs'
import { basename, dirname } from 'node:path'
import { TextTokenizer } from '@phsa/model'
import { bundledTokenizerFolder } from './demo/bundled-assets.js'
import { UsageError } from './usage-error.js'

/** A tokenizer and the folder that it came from, so that a saved model gets a copy. */
export interface OpenedTokenizer {
  readonly tokenizer: TextTokenizer
  readonly folder: string
}

/**
 * The tokenizer of `--tokenizer`: a folder, or a tokenizer.json in it; without a path the bundled one.
 * @throws UsageError for a file of another name; InvalidFileError; errors of the file system
 */
export async function openTokenizer(path: string | undefined): Promise<OpenedTokenizer> {
  if (path === undefined) return open(bundledTokenizerFolder())
  if (statSync(path).isDirectory()) return open(path)
  if (basename(path) !== 'tokenizer.json') {
    throw new UsageError(`--tokenizer ${path} is not called tokenizer.json; give that file of a Hugging Face tokenizer, or its folder.`)
  }
  return open(dirname(path))
}

async function open(folder: string): Promise<OpenedTokenizer> {
  return { tokenizer: await TextTokenizer.fromFolder(folder), folder }
}
