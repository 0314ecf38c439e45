import { readFile, stat } from 'node:fs/promises'
import { promisify } from 'node:util'
import { gunzip } from 'node:zlib'
import { UsageError } from './usage-error.js'

/**
 * A text file, gzipped where its name ends in .gz.
 * @throws UsageError when it is a folder, empty, no UTF-8 or no gzip; other errors of the file system are passed on
 */
export async function readText(path: string): Promise<string> {
  // Reading a folder fails without a path in the error, so nobody further up could say which it was.
  if ((await stat(path)).isDirectory()) throw new UsageError(`${path} is a folder; give a text file.`)
  const bytes = await readFile(path)
  const plain = path.endsWith('.gz') ? await unzip(path, bytes) : bytes
  const text = decode(path, plain)
  if (text.trim() === '') throw new UsageError(`${path} is empty; give a file with some text.`)
  return text
}

async function unzip(path: string, bytes: Uint8Array): Promise<Uint8Array> {
  try {
    return await promisify(gunzip)(bytes)
  } catch (cause) {
    throw new UsageError(`${path} is no gzip file (${(cause as Error).message}); rename it if it holds plain text.`, { cause })
  }
}

function decode(path: string, bytes: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  } catch (cause) {
    throw new UsageError(`${path} is no UTF-8 text; convert it first.`, { cause })
  }
}
