import { type BadRecord, LONGEST_DOCUMENT, type SourceDocument } from './document-record.js'
import { readLines } from './read-lines.js'
import { DocumentSplitter } from './split-documents.js'

/** `splitDocuments` of a file, a piece at a time. */
export async function* readTextDocuments(path: string, onBytes: (bytes: number) => void): AsyncGenerator<SourceDocument | BadRecord> {
  const splitter = new DocumentSplitter(path, LONGEST_DOCUMENT)
  for await (const line of readLines(path, onBytes)) {
    const record = splitter.line(line)
    if (record) yield record
  }
  const last = splitter.end()
  if (last) yield last
}
