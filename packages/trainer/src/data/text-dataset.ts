import { sha256 } from '@noble/hashes/sha2'
import { bytesToHex, utf8ToBytes } from '@noble/hashes/utils'
import { InvalidConfigError } from '@phsa/core'
import { nextTurn } from '../next-turn.js'
import type { RowOptions, TrainingData } from '../training-data.js'
import { type DocumentTokenizer, defaultSeparator } from './document-tokenizer.js'
import { PackedRows } from './packed-rows.js'
import { splitDocuments } from './split-documents.js'
import type { TokenizedDocuments } from './tokenized-documents.js'

/** How documents become token ids. */
export interface TokenizeOptions {
  /** Id between documents. Default: that of `<|endoftext|>` where one id decodes back to it, else its `eosTokenId`. */
  readonly separatorId?: number
  /** Called after each document. */
  readonly onProgress?: (progress: TokenizeProgress) => void
}

/** How much is tokenized so far. */
export interface TokenizeProgress {
  readonly documents: number
  readonly tokens: number
}

/** How a text becomes token ids. */
export interface TextOptions extends Omit<TokenizeOptions, 'onProgress'> {
  /** Called after each document. */
  readonly onProgress?: (progress: TokenizeProgress & { readonly totalDocuments: number }) => void
}

/** Text as token ids, each document followed by its separator; tokenized once, packed into rows for any length and seed. */
export class TextDataset implements TrainingData {
  readonly fingerprint: string
  readonly largestId: number
  readonly #documents: TokenizedDocuments
  readonly #starts: readonly number[]

  /** @param given token ids of each document, without separators; empty documents are left out */
  constructor(given: readonly ArrayLike<number>[], separatorId: number) {
    const documents = given.filter(({ length }) => length > 0)
    const starts = [0]
    for (const document of documents) starts.push(starts[starts.length - 1] + document.length + 1)
    const tokens = new Int32Array(starts[starts.length - 1]).fill(separatorId)
    for (const [index, document] of documents.entries()) tokens.set(document, starts[index])
    this.#starts = starts
    this.#documents = { starts, read: (start, count) => tokens.subarray(start, start + count) }
    this.largestId = tokens.reduce((largest, id) => Math.max(largest, id), 0)
    const hash = sha256
      .create()
      .update(new Uint8Array(tokens.buffer))
      .update(utf8ToBytes(JSON.stringify(starts)))
    this.fingerprint = bytesToHex(hash.digest()).slice(0, 16)
  }

  /**
   * Tokenizes a text whose documents are separated by two blank lines.
   * @throws InvalidConfigError when the text holds no document, or no separator is known
   */
  static async fromText(text: string, tokenizer: DocumentTokenizer, options: TextOptions = {}): Promise<TextDataset> {
    const texts = splitDocuments(text)
    if (texts.length === 0)
      throw new InvalidConfigError('text', 'the text holds no document; give some text, with two blank lines between documents.')
    const { separatorId, onProgress } = options
    return TextDataset.fromDocuments(
      texts.map((document) => ({ text: document })),
      tokenizer,
      { separatorId, onProgress: (progress) => onProgress?.({ ...progress, totalDocuments: texts.length }) },
    )
  }

  /**
   * Tokenizes documents, a `DocumentReader` for example. All tokens are kept in memory, 4 bytes each: `tokenizeCorpus` is for more than that.
   * @throws InvalidConfigError when no separator is known, and what reading the documents throws
   */
  static async fromDocuments(
    documents: Iterable<{ readonly text: string }> | AsyncIterable<{ readonly text: string }>,
    tokenizer: DocumentTokenizer,
    { separatorId = defaultSeparator(tokenizer), onProgress }: TokenizeOptions = {},
  ): Promise<TextDataset> {
    const encoded: ArrayLike<number>[] = []
    let tokens = 0
    for await (const { text } of documents) {
      const ids = tokenizer.encode(text)
      encoded.push(ids)
      tokens += ids.length + 1
      onProgress?.({ documents: encoded.length, tokens })
      // Tokenizing a book takes seconds: let timers and signals through between two.
      await nextTurn()
    }
    return new TextDataset(encoded, separatorId)
  }

  /** Tokens of one epoch, separators included. */
  get totalTokens(): number {
    return this.#starts[this.#starts.length - 1]
  }

  get totalDocuments(): number {
    return this.#starts.length - 1
  }

  rows(options: RowOptions): PackedRows {
    return new PackedRows(this.#documents, options)
  }
}
