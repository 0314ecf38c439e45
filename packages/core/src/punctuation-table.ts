import { InvalidConfigError } from './errors/invalid-config-error.js'
import { type PunctuationSet, punctuationTest } from './punctuation-sets.js'
import { decodeVocabulary, MAX_TOKEN_IDS } from './vocabulary-decoder.js'

/** Which characters count, and for which token ids (spec 2). */
export interface PunctuationTableOptions {
  /** Default `en`. */
  readonly set?: PunctuationSet
  /** Vocabulary size of the model where it is larger than the tokenizer's (padded embeddings); ids past the tokenizer's are no punctuation. */
  readonly size?: number
  /** Ids to leave out besides the special ones: a padding token that only tokenizer_config.json names, for instance. */
  readonly never?: Iterable<number>
}

/** Which token ids are punctuation (spec 2). Built once from a tokenizer; kernels never see it. */
export class PunctuationTable {
  /** Number of ids covered: 0 to size - 1. */
  readonly size: number
  readonly #flags: Uint8Array
  readonly #texts: ReadonlyMap<number, string>

  /**
   * @param texts text of each token that is punctuation, by id
   * @throws InvalidConfigError for an id outside the size
   */
  constructor(texts: ReadonlyMap<number, string>, size: number) {
    this.size = size
    this.#flags = new Uint8Array(size)
    this.#texts = new Map([...texts].sort(([left], [right]) => left - right))
    for (const id of texts.keys()) {
      this.#require(id)
      this.#flags[id] = 1
    }
  }

  /**
   * A token is punctuation when its text, stripped of white space, is not empty and lies wholly in the set; special, padding and
   * partial-UTF-8 tokens never are (spec 2).
   * @param tokenizer parsed tokenizer.json
   * @throws InvalidConfigError naming what the tokenizer lacks, an unknown set, or a size below the tokenizer's
   */
  static fromTokenizer(tokenizer: unknown, { set = 'en', size, never = [] }: PunctuationTableOptions = {}): PunctuationTable {
    const isMark = punctuationTest(set)
    const excluded = new Set(never)
    const vocabulary = decodeVocabulary(tokenizer)
    const covered = (vocabulary.at(-1)?.id ?? -1) + 1
    if (size !== undefined && (!Number.isInteger(size) || size < covered || size > MAX_TOKEN_IDS)) {
      throw new InvalidConfigError(
        'size',
        `size is ${size}; the tokenizer has ids up to ${covered - 1}, so it must be an integer from ${covered} to ${MAX_TOKEN_IDS}.`,
      )
    }
    const texts = new Map<number, string>()
    for (const { id, text, special } of vocabulary) {
      if (special || text === undefined || excluded.has(id)) continue
      const characters = [...withoutSpace(text)]
      if (characters.length > 0 && characters.every(isMark)) texts.set(id, text)
    }
    return new PunctuationTable(texts, size ?? covered)
  }

  /** Number of tokens that are punctuation. */
  get count(): number {
    return this.#texts.size
  }

  /** @throws InvalidConfigError for an id outside the vocabulary */
  isPunctuation(id: number): boolean {
    this.#require(id)
    return this.#flags[id] === 1
  }

  /**
   * One byte a token: 1 for punctuation, else 0. Same length as `ids`.
   * @throws InvalidConfigError for an id outside the vocabulary
   */
  marks(ids: ArrayLike<number>): Uint8Array {
    const marks = new Uint8Array(ids.length)
    for (let index = 0; index < ids.length; index++) {
      this.#require(ids[index])
      marks[index] = this.#flags[ids[index]]
    }
    return marks
  }

  /** What was taken, for a person to check: a line a token with its id and its text in JSON quotes, sorted by id. */
  describe(): string {
    return [...this.#texts].map(([id, text]) => `${id} ${JSON.stringify(text)}`).join('\n')
  }

  #require(id: number): void {
    if (Number.isInteger(id) && id >= 0 && id < this.size) return
    throw new InvalidConfigError(
      'token id',
      `token id ${id} is outside the vocabulary of ${this.size}; ids are integers from 0 to ${this.size - 1}. Does the tokenizer belong to this model?`,
    )
  }
}

/** By Unicode's White_Space: unlike `trim`, the same on every engine and without the byte order mark. */
function withoutSpace(text: string): string {
  return text.replace(/^\p{White_Space}+|\p{White_Space}+$/gu, '')
}
