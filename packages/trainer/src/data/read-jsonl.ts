import { type BadRecord, recordOf, type SourceDocument } from './document-record.js'
import { readLines } from './read-lines.js'

/** Records of a JSONL file: an object a line, whose field is the document. Blank lines are no records. */
export async function* readJsonlDocuments(
  path: string,
  field: string,
  onBytes: (bytes: number) => void,
): AsyncGenerator<SourceDocument | BadRecord> {
  for await (const { number, text, fault } of readLines(path, onBytes)) {
    const position = { file: path, line: number }
    if (fault !== undefined) yield { reason: fault, position }
    else if (text.trim() !== '') yield parseRecord(text, field, position)
  }
}

function parseRecord(line: string, field: string, position: { file: string; line: number }): SourceDocument | BadRecord {
  let json: unknown
  try {
    json = JSON.parse(line)
  } catch (error) {
    return { reason: `it is no valid JSON (${(error as Error).message.slice(0, 120)})`, position }
  }
  if (typeof json !== 'object' || json === null || Array.isArray(json)) return { reason: 'it is no JSON object', position }
  if (Object.hasOwn(json, field)) return recordOf((json as Record<string, unknown>)[field], field, position)
  const names = Object.keys(json).slice(0, 8).join(', ')
  return { reason: `it has no field ${JSON.stringify(field)}${names && `, but ${names}`}`, position }
}
