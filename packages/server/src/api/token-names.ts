import { decodeVocabulary } from '@phsa/core'

/** Tokens as log-probabilities name them. */
export class TokenNames {
  readonly #json: unknown
  #texts: ReadonlyMap<number, string | undefined> | undefined

  /** @param json a parsed tokenizer.json, read when the first name is asked for */
  constructor(json: unknown) {
    this.#json = json
  }

  /** The token's text; `token_id:N` where its bytes are no whole characters, so that no two such tokens have one name. */
  name(id: number): string {
    return this.#textOf(id) ?? `token_id:${id}`
  }

  /** UTF-8 of the token's text; null where its bytes are no whole characters. */
  bytes(id: number): number[] | null {
    const text = this.#textOf(id)
    return text === undefined ? null : [...new TextEncoder().encode(text)]
  }

  #textOf(id: number): string | undefined {
    this.#texts ??= new Map(decodeVocabulary(this.#json).map((token) => [token.id, token.text]))
    return this.#texts.get(id)
  }
}
