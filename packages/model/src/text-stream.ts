import type { TextTokenizer } from './text-tokenizer.js'

/** Turns token ids into text as they come: the bytes of a character that several tokens share are held back until it is whole. */
export class TextStream {
  readonly #tokenizer: TextTokenizer
  #pending: number[] = []
  /** Characters of the pending ids' text that were given out. */
  #given = 0

  constructor(tokenizer: TextTokenizer) {
    this.#tokenizer = tokenizer
  }

  /** @returns the text that is certain now; often empty in the middle of a character */
  push(id: number): string {
    this.#pending.push(id)
    const text = this.#tokenizer.decode(this.#pending)
    // Bytes that are no whole character yet decode to U+FFFD at the end.
    const certain = text.replace(/\uFFFD+$/u, '')
    const fresh = certain.slice(this.#given)
    this.#given = certain.length
    if (certain.length === text.length) this.#reset()
    return fresh
  }

  /** What is left at the end: U+FFFD for bytes that never became a character. */
  end(): string {
    const rest = this.#tokenizer.decode(this.#pending).slice(this.#given)
    this.#reset()
    return rest
  }

  #reset(): void {
    this.#pending = []
    this.#given = 0
  }
}
