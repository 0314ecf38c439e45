import { type BadRecord, type SourceDocument, TOO_LONG } from './document-record.js'
import type { SourceLine } from './read-lines.js'

/** Documents of a text: two blank lines or more lie between them. White space around each is left out, and empty ones are. */
export function splitDocuments(text: string): string[] {
  const splitter = new DocumentSplitter('text')
  const lines = text.split(/\r?\n/).map((line, index) => splitter.line({ number: index + 1, text: line }))
  return [...lines, splitter.end()].flatMap((record) => (record && 'text' in record ? [record.text] : []))
}

/** Collects lines into documents. */
export class DocumentSplitter {
  readonly #file: string
  readonly #longest: number
  #lines: string[] = []
  #first = 0
  #length = 0
  #blank = 0
  #fault: string | undefined

  /** @param longest characters beyond which a document is a bad record */
  constructor(file: string, longest = Number.POSITIVE_INFINITY) {
    this.#file = file
    this.#longest = longest
  }

  /** @returns the document that this line ends */
  line({ number, text, fault }: SourceLine): SourceDocument | BadRecord | undefined {
    const isBlank = text?.trim() === ''
    this.#blank = isBlank ? this.#blank + 1 : 0
    if (this.#blank >= 2) return this.end()
    if (this.#first === 0 && isBlank) return undefined
    if (this.#first === 0) this.#first = number
    if (fault !== undefined) this.#fault ??= `line ${number}: ${fault}`
    this.#length += (text?.length ?? 0) + 1
    if (this.#length > this.#longest) this.#fault ??= TOO_LONG
    if (this.#fault === undefined) this.#lines.push(text ?? '')
    else this.#lines = []
    return undefined
  }

  /** @returns what is left, where there is something */
  end(): SourceDocument | BadRecord | undefined {
    if (this.#first === 0) return undefined
    const position = { file: this.#file, line: this.#first }
    const record = this.#fault === undefined ? { text: this.#lines.join('\n').trim(), position } : { reason: this.#fault, position }
    this.#lines = []
    this.#first = 0
    this.#length = 0
    this.#fault = undefined
    return record
  }
}
