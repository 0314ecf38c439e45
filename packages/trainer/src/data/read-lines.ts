import { isUtf8 } from 'node:buffer'
import { createReadStream } from 'node:fs'
import { pipeline } from 'node:stream'
import { createGunzip } from 'node:zlib'
import { InvalidFileError } from '@phsa/core'
import { LONGEST_DOCUMENT, TOO_LONG } from './document-record.js'

/** A line without its end, or what is wrong with it. */
export type SourceLine =
  | { readonly number: number; readonly text: string; readonly fault?: undefined }
  | { readonly number: number; readonly text?: undefined; readonly fault: string }

const NEWLINE = 0x0a
const BYTES_AT_ONCE = 2 ** 18

/**
 * Lines of a UTF-8 file, unzipped where its name ends in .gz, read a piece at a time. A byte order mark and carriage returns are left out.
 * @param onBytes called with the bytes read so far, as they lie on the disk
 * @param longest bytes beyond which a line is not kept
 * @throws InvalidFileError for what is no gzip, or only part of it; errors of the file system
 */
export async function* readLines(path: string, onBytes: (bytes: number) => void, longest = LONGEST_DOCUMENT): AsyncGenerator<SourceLine> {
  let number = 0
  let parts: Buffer[] = []
  let length = 0
  const add = (part: Buffer) => {
    length += part.length
    if (length <= longest) parts.push(part)
    else parts = []
  }
  const finish = (): SourceLine => {
    const bytes = parts.length === 1 ? parts[0] : Buffer.concat(parts)
    const isTooLong = length > longest
    parts = []
    length = 0
    number++
    return isTooLong ? { number, fault: TOO_LONG } : decodeLine(bytes, number)
  }
  for await (const chunk of readBytes(path, onBytes)) {
    let start = 0
    for (let end = chunk.indexOf(NEWLINE); end !== -1; end = chunk.indexOf(NEWLINE, start)) {
      add(chunk.subarray(start, end))
      yield finish()
      start = end + 1
    }
    if (start < chunk.length) add(chunk.subarray(start))
  }
  if (length > 0) yield finish()
}

function decodeLine(bytes: Buffer, number: number): SourceLine {
  if (!isUtf8(bytes)) return { number, fault: 'it is no valid UTF-8' }
  const text = bytes.toString('utf8', 0, bytes.at(-1) === 0x0d ? bytes.length - 1 : bytes.length)
  return { number, text: number === 1 && text.startsWith('\ufeff') ? text.slice(1) : text }
}

async function* readBytes(path: string, onBytes: (bytes: number) => void): AsyncGenerator<Buffer> {
  const file = createReadStream(path, { highWaterMark: BYTES_AT_ONCE })
  const isZipped = path.endsWith('.gz')
  // What fails ends the iteration below, which says so; the callback is there so that nothing is thrown a second time.
  const stream = isZipped ? pipeline(file, createGunzip({ chunkSize: BYTES_AT_ONCE }), () => file.destroy()) : file
  try {
    for await (const chunk of stream) {
      onBytes(file.bytesRead)
      yield chunk
    }
  } catch (cause) {
    if (!(cause as NodeJS.ErrnoException).code?.startsWith('Z_')) throw cause
    throw new InvalidFileError(`${path} cannot be unzipped (${(cause as Error).message}); copy it again, or rename it if it is plain.`, {
      cause,
    })
  } finally {
    stream.destroy()
    file.destroy()
  }
}
