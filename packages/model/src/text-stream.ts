import type { TextTokenizer } from './text-tokenizer.js'

/**
 * Turns token ids into text as they come: the bytes of a character that several tokens share are held back until it is whole. Joined, the
 * pieces are the decoding of all ids.
 */
export class TextStream {
  readonly #tokenizer: TextTokenizer
  /** The last ids that were whole, given out already: alone, the ids after them might decode without the blank between. */
  #context: number[] = []
  #pending: number[] = []
  /** Characters of the text of context and pending ids that were given out. */
  #given = 0

  constructor(tokenizer: TextTokenizer) {
    this.#tokenizer = tokenizer
  }

  /** @returns the text that is certain now; often empty in the middle of a character */
  push(id: number): string {
    this.#pending.push(id)
    const text = this.#text()
    // Bytes that are no whole character yet decode to U+FFFD at the end.
    const certain = text.replace(/\uFFFD+$/u, '')
    const fresh = certain.slice(this.#given)
    this.#given = Math.max(this.#given, certain.length)
    if (certain.length === text.length) this.#keepAsContext()
    return fresh
  }

  /** What is left at the end: U+FFFD for bytes that never became a character. */
  end(): string {
    const rest = this.#text().slice(this.#given)
    this.#context = []
    this.#pending = []
    this.#given = 0
    return rest
  }

  #text(): string {
    return this.#tokenizer.decode([...this.#context, ...this.#pending])
  }

  #keepAsContext(): void {
    this.#context = this.#pending
    this.#pending = []
    this.#given = this.#text().length
  }
}
