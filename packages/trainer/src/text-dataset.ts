import { createHash } from 'node:crypto'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { InvalidConfigError } from '@phsa/core'
import { PackedRows, type TokenizedDocuments } from './packed-rows.js'
import type { RowOptions, TrainingData } from './training-data.js'

/** The part of a tokenizer that a data set needs; `TextTokenizer` of @phsa/model has it. */
export interface DocumentTokenizer {
  encode(text: string): ArrayLike<number>
  /** Text of ids, special tokens included: tells whether `<|endoftext|>` has an id of its own or became the unknown token. */
  decode?(ids: ArrayLike<number>): string
  /** Id that ends a generation; a chat model's is often not the one between documents. */
  readonly eosTokenId?: number
}

/** How a text is cut into documents of token ids. */
export interface TokenizeOptions {
  /** Id between documents. Default: that of `<|endoftext|>` where one id decodes back to it, else its `eosTokenId`. */
  readonly separatorId?: number
  /** Called after each document. */
  readonly onProgress?: (progress: TokenizeProgress) => void
}

/** How much of a text is tokenized so far. */
export interface TokenizeProgress {
  readonly documents: number
  readonly totalDocuments: number
  readonly tokens: number
}

/** Documents of a text: two blank lines or more lie between them. Empty ones are left out. */
export function splitDocuments(text: string): string[] {
  return text
    .replaceAll('\r\n', '\n')
    .split(/\n[^\S\n]*\n[^\S\n]*\n\s*/)
    .map((document) => document.replace(/^\s*\n|\s+$/g, ''))
    .filter((document) => document !== '')
}

/** Text as token ids, each document followed by its separator; tokenized once, packed into rows for any length and seed. */
export class TextDataset implements TrainingData {
  readonly fingerprint: string
  readonly largestId: number
  readonly #documents: TokenizedDocuments

  /** @param given token ids of each document, without separators; empty documents are left out */
  constructor(given: readonly ArrayLike<number>[], separatorId: number) {
    const documents = given.filter(({ length }) => length > 0)
    const starts = [0]
    for (const document of documents) starts.push(starts[starts.length - 1] + document.length + 1)
    const tokens = new Int32Array(starts[starts.length - 1]).fill(separatorId)
    for (const [index, document] of documents.entries()) tokens.set(document, starts[index])
    this.#documents = { tokens, starts }
    this.largestId = tokens.reduce((largest, id) => Math.max(largest, id), 0)
    this.fingerprint = createHash('sha256').update(new Uint8Array(tokens.buffer)).update(JSON.stringify(starts)).digest('hex').slice(0, 16)
  }

  /**
   * Tokenizes a text whose documents are separated by two blank lines.
   * @throws InvalidConfigError when the text holds no document, or no separator is known
   */
  static async fromText(text: string, tokenizer: DocumentTokenizer, options: TokenizeOptions = {}): Promise<TextDataset> {
    const separatorId = options.separatorId ?? defaultSeparator(tokenizer)
    const texts = splitDocuments(text)
    if (texts.length === 0)
      throw new InvalidConfigError('text', 'the text holds no document; give some text, with two blank lines between documents.')
    const documents: ArrayLike<number>[] = []
    let tokens = 0
    for (const document of texts) {
      const ids = tokenizer.encode(document)
      documents.push(ids)
      tokens += ids.length + 1
      options.onProgress?.({ documents: documents.length, totalDocuments: texts.length, tokens })
      // Tokenizing a book takes seconds: let timers and signals through between two.
      await nextTurn()
    }
    return new TextDataset(documents, separatorId)
  }

  /** Tokens of one epoch, separators included. */
  get totalTokens(): number {
    return this.#documents.tokens.length
  }

  get totalDocuments(): number {
    return this.#documents.starts.length - 1
  }

  rows(options: RowOptions): PackedRows {
    return new PackedRows(this.#documents, options)
  }
}

const END_OF_TEXT = '<|endoftext|>'

function defaultSeparator(tokenizer: DocumentTokenizer): number {
  const special = tokenizer.encode(END_OF_TEXT)
  // One id may also be the unknown token's: only its text tells them apart.
  if (special.length === 1 && tokenizer.decode?.(special) === END_OF_TEXT) return special[0]
  if (tokenizer.eosTokenId !== undefined) return tokenizer.eosTokenId
  throw new InvalidConfigError(
    'separatorId',
    'the tokenizer has no eosTokenId and no <|endoftext|> that decodes back to itself; give separatorId, the id to put between documents.',
  )
}
