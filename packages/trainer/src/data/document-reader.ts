import { InvalidConfigError, InvalidFileError } from '@phsa/core'
import { type BadRecord, describePosition, type RecordPosition, type SourceDocument } from './document-record.js'
import { readJsonlDocuments } from './read-jsonl.js'
import { readParquetDocuments } from './read-parquet.js'
import { readTextDocuments } from './read-text-documents.js'
import { listSourceFiles, type SourceFile } from './source-files.js'

/** How documents are read from files. */
export interface ReadOptions {
  /** Field of JSONL records, column of parquet rows. Default `text`. */
  readonly textField?: string
  /** Part of a dataset folder, by the names of its files. Default `train`. */
  readonly split?: string
  /** What a record that is no document does: it is counted and left out, or ends the reading. Default `skip`. */
  readonly onBadRecord?: 'skip' | 'fail'
  /** Bad records that are remembered with their positions; all are counted. Default 20. */
  readonly listedBadRecords?: number
  /** Stops between two records by throwing the signal's reason. */
  readonly signal?: AbortSignal
}

/** Records that were no documents. */
export interface BadRecordReport {
  readonly count: number
  /** The first of them. */
  readonly listed: readonly BadRecord[]
}

/**
 * Documents of text, JSONL and parquet files and of dataset folders, one after the other in a fixed order, with where each stands. Files are
 * read a piece at a time. Iterate it once.
 */
export class DocumentReader implements AsyncIterable<SourceDocument> {
  readonly files: readonly SourceFile[]
  /** Bytes of all files, as they lie on the disk. */
  readonly totalBytes: number
  readonly #options: Required<Omit<ReadOptions, 'split' | 'signal'>>
  readonly #signal: AbortSignal | undefined
  readonly #listed: BadRecord[] = []
  #badRecords = 0
  #doneBytes = 0
  #started = false

  private constructor(files: readonly SourceFile[], options: Required<Omit<ReadOptions, 'split' | 'signal'>>, signal?: AbortSignal) {
    this.files = files
    this.totalBytes = files.reduce((sum, { bytes }) => sum + bytes, 0)
    this.#options = options
    this.#signal = signal
  }

  /**
   * Finds the files; reads nothing yet.
   * @param sources files (.txt, .txt.gz, .jsonl, .jsonl.gz, .parquet) and dataset folders
   * @throws InvalidFileError, InvalidConfigError and errors of the file system, as `listSourceFiles` does
   */
  static async open(sources: readonly string[], options: ReadOptions = {}): Promise<DocumentReader> {
    const { textField = 'text', split, onBadRecord = 'skip', listedBadRecords = 20, signal } = options
    if (onBadRecord !== 'skip' && onBadRecord !== 'fail') {
      throw new InvalidConfigError('onBadRecord', `onBadRecord is ${JSON.stringify(onBadRecord)}; it is 'skip' or 'fail'.`)
    }
    return new DocumentReader(await listSourceFiles(sources, split), { textField, onBadRecord, listedBadRecords }, signal)
  }

  /** Bytes read so far, as they lie on the disk. */
  get doneBytes(): number {
    return this.#doneBytes
  }

  get badRecords(): BadRecordReport {
    return { count: this.#badRecords, listed: [...this.#listed] }
  }

  /**
   * @throws InvalidFileError for a file that cannot be read, one that changed meanwhile, and with `onBadRecord: 'fail'` for the first record
   * that is no document
   */
  async *[Symbol.asyncIterator](): AsyncGenerator<SourceDocument, void, undefined> {
    if (this.#started) throw new InvalidConfigError('documents', 'these documents have been read already; open them again.')
    this.#started = true
    let before = 0
    for (const file of this.files) {
      const onBytes = (bytes: number) => {
        this.#doneBytes = before + Math.min(bytes, file.bytes)
      }
      for await (const record of this.#records(file, onBytes)) {
        this.#signal?.throwIfAborted()
        if ('text' in record) yield record
        else this.reject(record.position, record.reason)
      }
      before += file.bytes
      this.#doneBytes = before
    }
  }

  /**
   * Counts a record that is no document after all.
   * @throws InvalidFileError with `onBadRecord: 'fail'`
   */
  reject(position: RecordPosition, reason: string): void {
    this.#badRecords++
    if (this.#listed.length < this.#options.listedBadRecords) this.#listed.push({ position, reason })
    if (this.#options.onBadRecord === 'skip') return
    throw new InvalidFileError(`${describePosition(position)} is no document: ${reason}; mend it, or skip bad records.`)
  }

  /** The error for sources without a document, with the first reasons. */
  emptyError(): InvalidFileError {
    const names = this.files.length === 1 ? this.files[0].path : `${this.files.length} files`
    const first = this.#listed.slice(0, 3).map(({ position, reason }) => `${describePosition(position)}: ${reason}`)
    const bad = first.length === 0 ? 'give files with some text' : `bad records: ${this.#badRecords}, such as ${first.join('; ')}`
    return new InvalidFileError(`${names} held no document; ${bad}.`)
  }

  #records({ path, kind }: SourceFile, onBytes: (bytes: number) => void): AsyncGenerator<SourceDocument | BadRecord> {
    const { textField } = this.#options
    if (kind === 'jsonl') return readJsonlDocuments(path, textField, onBytes)
    return kind === 'parquet' ? readParquetDocuments(path, textField, onBytes) : readTextDocuments(path, onBytes)
  }
}
