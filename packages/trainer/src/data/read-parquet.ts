import { type FileHandle, open } from 'node:fs/promises'
import { InvalidFileError } from '@phsa/core'
import type { AsyncBuffer, FileMetaData } from 'hyparquet'
import { type BadRecord, recordOf, type SourceDocument } from './document-record.js'

/**
 * Rows of a parquet file, whose column is the document; of the file only that column is read, a row group at a time.
 * @param onBytes called with the share of the file's bytes that its rows so far stand for
 * @throws InvalidFileError for what is no parquet, is damaged, or has no such column
 */
export async function* readParquetDocuments(
  path: string,
  field: string,
  onBytes: (bytes: number) => void,
): AsyncGenerator<SourceDocument | BadRecord> {
  // Not needed, and not loaded, where there is no parquet.
  const [{ parquetMetadataAsync, parquetReadObjects, parquetSchema }, { compressors }] = await Promise.all([
    import('hyparquet'),
    import('hyparquet-compressors'),
  ])
  const handle = await open(path, 'r')
  try {
    const file = await positionedReads(handle, path)
    const metadata = await explained(path, () => parquetMetadataAsync(file))
    const columns = parquetSchema(metadata).children.map(({ element }) => element.name)
    if (!columns.includes(field)) {
      throw new InvalidFileError(`${path} has no column ${JSON.stringify(field)}, but ${columns.join(', ')}; name the one with the text.`)
    }
    for (const { start, end } of rowGroups(metadata)) {
      const rows = await explained(path, () =>
        parquetReadObjects({
          file,
          metadata,
          compressors,
          columns: [field],
          rowStart: start,
          rowEnd: end,
          parsers: { stringFromBytes },
        }),
      )
      if (rows.length !== end - start) {
        throw new InvalidFileError(`${path} has ${rows.length} rows where its header says ${end - start}; copy it again.`)
      }
      for (const [index, row] of rows.entries()) {
        onBytes(Math.round((file.byteLength * (start + index + 1)) / Number(metadata.num_rows)))
        const position = { file: path, row: start + index }
        const value: unknown = row[field]
        yield value instanceof Uint8Array ? { reason: 'it is no valid UTF-8', position } : recordOf(value, field, position)
      }
    }
  } finally {
    await handle.close()
  }
}

/** Bytes that are no UTF-8 stay bytes: the library would put replacement characters in. */
function stringFromBytes(bytes: Uint8Array | undefined): unknown {
  if (bytes === undefined) return undefined
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  } catch (error) {
    if (error instanceof TypeError) return bytes
    throw error
  }
}

function rowGroups({ row_groups }: FileMetaData): { start: number; end: number }[] {
  let start = 0
  return row_groups.map(({ num_rows }) => {
    const group = { start, end: start + Number(num_rows) }
    start = group.end
    return group
  })
}

async function positionedReads(handle: FileHandle, path: string): Promise<AsyncBuffer> {
  const { size } = await handle.stat()
  return {
    byteLength: size,
    async slice(start, end = size) {
      const from = start < 0 ? size + start : start
      const bytes = new Uint8Array(Math.max(0, end - from))
      for (let done = 0; done < bytes.length; ) {
        const { bytesRead } = await handle.read(bytes, done, bytes.length - done, from + done)
        if (bytesRead === 0) throw new InvalidFileError(`${path} ends before byte ${from + bytes.length}`)
        done += bytesRead
      }
      return bytes.buffer
    },
  }
}

async function explained<T>(path: string, read: () => Promise<T>): Promise<T> {
  try {
    return await read()
  } catch (cause) {
    throw new InvalidFileError(`${path} cannot be read as parquet (${(cause as Error).message}); copy it again.`, { cause })
  }
}
