/** Where a record stands: its file and there its line, counted from 1, or its row, counted from 0 as table tools do. */
export interface RecordPosition {
  readonly file: string
  readonly line?: number
  readonly row?: number
}

/** A document of a source. */
export interface SourceDocument {
  readonly text: string
  readonly position: RecordPosition
}

/** A record that is no document, and why. */
export interface BadRecord {
  readonly reason: string
  readonly position: RecordPosition
}

/** Bytes of a line, and characters of a document, beyond which it is a bad record: a file without line ends must not fill the memory. */
export const LONGEST_DOCUMENT = 2 ** 26

export const TOO_LONG = `it is longer than ${LONGEST_DOCUMENT / 2 ** 20} Mi characters`

/** A position as errors and reports name it. */
export function describePosition({ file, line, row }: RecordPosition): string {
  if (line !== undefined) return `${file} line ${line}`
  return row === undefined ? file : `${file} row ${row}`
}

/** The document that a field's value is, or what is wrong with it. */
export function recordOf(value: unknown, field: string, position: RecordPosition): SourceDocument | BadRecord {
  if (typeof value !== 'string') return { reason: `its field ${JSON.stringify(field)} is ${nameOf(value)}, not text`, position }
  if (value.trim() === '') return { reason: 'it is empty', position }
  if (value.length > LONGEST_DOCUMENT) return { reason: TOO_LONG, position }
  // JSON can write half of a character, which UTF-8 cannot hold.
  if (/\p{Surrogate}/u.test(value)) return { reason: 'it has half a surrogate pair', position }
  return { text: value, position }
}

function nameOf(value: unknown): string {
  if (value === null || value === undefined) return 'null'
  return Array.isArray(value) ? 'a list' : `of type ${typeof value}`
}
