import { Tokenizer } from '@huggingface/tokenizers'
import { InvalidFileError } from '@phsa/core'
import { folderFiles } from './folder-files.js'
import { InvalidInputError } from './invalid-input-error.js'
import { isRecord } from './is-record.js'
import type { ModelFiles } from './model-files.js'
import { readJsonFile, readTextFile } from './text-file.js'

/** Text to token ids and back, as a Hugging Face tokenizer.json says. */
export class TextTokenizer {
  /** The parsed tokenizer.json, for `PunctuationTable.fromTokenizer`. */
  readonly json: unknown
  /** The parsed tokenizer_config.json: the chat template is in it. Empty where there is none. */
  readonly settings: Readonly<Record<string, unknown>>
  /** Ids are 0 to vocabSize - 1; a model's own vocabulary may be padded beyond. */
  readonly vocabSize: number
  readonly eosTokenId: number | undefined
  readonly padTokenId: number | undefined
  readonly #tokenizer: Tokenizer

  private constructor(json: unknown, settings: Readonly<Record<string, unknown>>, tokenizer: Tokenizer) {
    this.json = json
    this.settings = settings
    this.#tokenizer = tokenizer
    this.vocabSize = [...tokenizer.get_vocab().values(), ...tokenizer.get_added_tokens_decoder().keys()].reduce(
      (size, id) => Math.max(size, id + 1),
      0,
    )
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
    const settings = await readJsonFile(files, 'tokenizer_config.json')
    const template = await readTextFile(files, 'chat_template.jinja')
    const merged = template === undefined ? settings : { ...(isRecord(settings) ? settings : {}), chat_template: template }
    return TextTokenizer.fromJson(json, merged, `${files.label}/tokenizer.json`)
  }

  /**
   * @param json parsed tokenizer.json
   * @param settings parsed tokenizer_config.json: names the end and padding tokens and holds the chat template
   * @param label what to call the file in errors
   * @throws InvalidFileError when it is no tokenizer, or uses a part that @huggingface/tokenizers does not have
   */
  static fromJson(json: unknown, settings: unknown = {}, label = 'tokenizer.json'): TextTokenizer {
    if (!isRecord(json) || !isRecord(json.model)) {
      throw new InvalidFileError(`${label}: it holds no tokenizer; a JSON object with "model" is needed.`)
    }
    const checked = isRecord(settings) ? settings : {}
    try {
      return new TextTokenizer(json, checked, new Tokenizer(json, checked))
    } catch (cause) {
      throw new InvalidFileError(`${label}: @huggingface/tokenizers cannot read it: ${(cause as Error).message}`, { cause })
    }
  }

  /** Token ids of a text. Special tokens that stand in the text become their ids; none are added around it. */
  encode(text: string): Int32Array {
    return text === '' ? new Int32Array(0) : Int32Array.from(this.#tokenizer.encode(text, { add_special_tokens: false }).ids)
  }

  /**
   * Text of token ids, special tokens included; bytes that are no whole character become U+FFFD.
   * @throws InvalidInputError for an id outside the vocabulary
   */
  decode(ids: ArrayLike<number>): string {
    if (ids.length === 0) return ''
    const list = Array.from(ids)
    const unknown = list.find((id) => this.#tokenizer.id_to_token(id) === undefined)
    if (unknown !== undefined) {
      throw new InvalidInputError(`${unknown} is no token id of this tokenizer; it has 0 to ${this.vocabSize - 1}.`)
    }
    return this.#tokenizer.decode(list, { skip_special_tokens: false, clean_up_tokenization_spaces: false })
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
