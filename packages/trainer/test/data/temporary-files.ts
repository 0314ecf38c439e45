import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { type ColumnSource, parquetWriteBuffer } from 'hyparquet-writer'
import { afterEach, beforeEach } from 'vitest'

/** A folder for each test of a file. */
export function temporaryFiles() {
  let folder = ''
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'phsa-data-'))
  })
  afterEach(() => rm(folder, { recursive: true, force: true }))
  const path = (name: string) => join(folder, name)
  const write = async (name: string, content: string | Uint8Array): Promise<string> => {
    await mkdir(dirname(path(name)), { recursive: true })
    await writeFile(path(name), name.endsWith('.gz') ? gzipSync(content) : content)
    return path(name)
  }
  return {
    path,
    write,
    /** @param options of the writer; rows a row group */
    parquet: (name: string, columnData: ColumnSource[], options: { codec?: 'SNAPPY' | 'UNCOMPRESSED'; rowGroupSize?: number } = {}) =>
      write(name, new Uint8Array(parquetWriteBuffer({ columnData, ...options }))),
  }
}
