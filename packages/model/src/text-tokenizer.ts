import { Tokenizer } from '@huggingface/tokenizers'
import { InvalidFileError } from '@phsa/core'
import { folderFiles } from './folder-files.js'
import { InvalidInputError } from './invalid-input-error.js'
import { isRecord } from './is-record.js'
import type { ModelFiles } from './model-files.js'
import { reasonOf } from './reason-of.js'
import { readJsonFile, readTextFile, requireShallow } from './text-file.js'
import { requireTokenizerFile, type TokenizerFile, vocabularySize } from './tokenizer-file.js'

/** Text to token ids and back, as a Hugging Face tokenizer.json says. */
export class TextTokenizer {
  /** What errors call the file. */
  readonly label: string
  /** The parsed tokenizer.json, for `PunctuationTable.fromTokenizer`. */
  readonly json: unknown
  /** The parsed tokenizer_config.json: the chat template is in it. Empty where there is none. */
  readonly settings: Readonly<Record<string, unknown>>
  /** Ids are 0 to vocabSize - 1; a model's own vocabulary may be padded beyond. */
  readonly vocabSize: number
  readonly eosTokenId: number | undefined
  readonly padTokenId: number | undefined
  readonly #tokenizer: Tokenizer

  private constructor(json: TokenizerFile, settings: Readonly<Record<string, unknown>>, tokenizer: Tokenizer, label: string) {
    this.label = label
    this.json = json
    this.settings = settings
    this.#tokenizer = tokenizer
    this.vocabSize = vocabularySize(json)
    this.eosTokenId = this.#namedToken('eos_token')
    this.padTokenId = this.#namedToken('pad_token')
  }

  /** Reads tokenizer.json, and tokenizer_config.json where there is one. @throws InvalidFileError */
  static async fromFolder(folder: string): Promise<TextTokenizer> {
    const files = await folderFiles(folder)
    try {
      const tokenizer = await TextTokenizer.fromFiles(files)
      if (!tokenizer) throw new InvalidFileError(`${folder}: there is no tokenizer.json; give a folder with one.`)
      return tokenizer
    } finally {
      await files.close()
    }
  }

  /** The same from files; undefined where there is no tokenizer.json. A chat template may lie in a file of its own. */
  static async fromFiles(files: ModelFiles): Promise<TextTokenizer | undefined> {
    const json = await readJsonFile(files, 'tokenizer.json')
    if (json === undefined) return undefined
    const settings = (await readJsonFile(files, 'tokenizer_config.json')) ?? {}
    if (!isRecord(settings)) throw new InvalidFileError(`${files.label}/tokenizer_config.json: it must hold one JSON object.`)
    const template = await readTextFile(files, 'chat_template.jinja')
    const merged = template === undefined ? settings : { ...settings, chat_template: template }
    return TextTokenizer.fromJson(json, merged, `${files.label}/tokenizer.json`)
  }

  /**
   * @param json parsed tokenizer.json
   * @param settings parsed tokenizer_config.json: names the end and padding tokens and holds the chat template
   * @param label what to call the file in errors
   * @throws InvalidFileError when it is no tokenizer, or uses a part that @huggingface/tokenizers does not have
   */
  static fromJson(json: unknown, settings: unknown = {}, label = 'tokenizer.json'): TextTokenizer {
    requireShallow(json, label)
    const file = requireTokenizerFile(json, label)
    const checked = settings ?? {}
    if (!isRecord(checked)) throw new InvalidFileError(`${label}: the settings beside it (tokenizer_config.json) must be one JSON object.`)
    return library(label, 'read', () => new TextTokenizer(file, checked, new Tokenizer(file, checked), label))
  }

  /**
   * Token ids of a text. Special tokens that stand in the text become their ids; none are added around it.
   * @throws InvalidFileError when a part of the file cannot work on this text
   */
  encode(text: string): Int32Array {
    if (text === '') return new Int32Array(0)
    const ids: unknown[] = library(this.label, 'encode with', () => this.#tokenizer.encode(text, { add_special_tokens: false }).ids)
    if (!ids.every((id): id is number => Number.isInteger(id))) {
      throw new InvalidFileError(`${this.label}: it has no id for a part of the text and names no token for what is unknown.`)
    }
    return Int32Array.from(ids)
  }

  /**
   * Text of token ids, special tokens included; bytes that are no whole character become U+FFFD.
   * @throws InvalidInputError for an id outside the vocabulary; InvalidFileError as `encode` does
   */
  decode(ids: ArrayLike<number>): string {
    if (ids.length === 0) return ''
    const list = Array.from(ids)
    const unknown = list.find((id) => this.#tokenizer.id_to_token(id) === undefined)
    if (unknown !== undefined) {
      throw new InvalidInputError(`${unknown} is no token id of this tokenizer; it has 0 to ${this.vocabSize - 1}.`)
    }
    return library(this.label, 'decode with', () =>
      this.#tokenizer.decode(list, { skip_special_tokens: false, clean_up_tokenization_spaces: false }),
    )
  }

  /** The id of a token by its exact text, for special tokens. */
  tokenId(token: string): number | undefined {
    return this.#tokenizer.token_to_id(token)
  }

  #namedToken(setting: string): number | undefined {
    const value = this.settings[setting]
    const token = isRecord(value) ? value.content : value
    return typeof token === 'string' ? this.#tokenizer.token_to_id(token) : undefined
  }
}

/** What the library throws on a file that it cannot work with is of any type, and names no file. */
function library<T>(label: string, what: string, run: () => T): T {
  try {
    return run()
  } catch (cause) {
    throw new InvalidFileError(`${label}: @huggingface/tokenizers cannot ${what} it: ${reasonOf(cause)}`, { cause })
  }
}
