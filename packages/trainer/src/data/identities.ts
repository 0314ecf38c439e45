import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { stat } from 'node:fs/promises'
import { join } from 'node:path'
import type { PunctuationTable } from '@phsa/core'

/**
 * Names a tokenizer by the bytes of its tokenizer.json, so that two tokenizers that are not the same are never taken for one.
 * @param path tokenizer.json, or the folder it lies in
 * @returns `sha256:` and 64 hexadecimal digits
 * @throws errors of the file system
 */
export async function tokenizerIdentity(path: string): Promise<string> {
  const file = (await stat(path)).isDirectory() ? join(path, 'tokenizer.json') : path
  return `sha256:${await hashFile(file)}`
}

/** Names which tokens are punctuation, by their ids and texts; the size of the vocabulary does not matter. */
export function punctuationIdentity(table: PunctuationTable): string {
  return `sha256:${createHash('sha256').update(table.describe()).digest('hex')}`
}

/**
 * SHA-256 of a file, hexadecimal; read a piece at a time.
 * @param onBytes called with the bytes of each piece
 * @throws the signal's reason; errors of the file system
 */
export async function hashFile(path: string, { signal, onBytes }: HashOptions = {}): Promise<string> {
  const hash = createHash('sha256')
  for await (const piece of createReadStream(path, { highWaterMark: 2 ** 20 })) {
    signal?.throwIfAborted()
    hash.update(piece)
    onBytes?.(piece.length)
  }
  return hash.digest('hex')
}

/** How a file is hashed. */
export interface HashOptions {
  readonly signal?: AbortSignal
  readonly onBytes?: (bytes: number) => void
}
