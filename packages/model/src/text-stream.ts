import type { TextTokenizer } from './text-tokenizer.js'

/** Ids of a prompt that are kept as context: enough to end on whole characters. */
const CONTEXT_IDS = 8

/**
 * Turns token ids into text as they come: the bytes of a character that several tokens share are held back until it is whole. Joined, the
 * pieces are the decoding of all ids.
 */
export class TextStream {
  readonly #tokenizer: Pick<TextTokenizer, 'decode'>
  /** The last ids that were whole, given out already: alone, the ids after them might decode without the blank between. */
  #context: number[]
  #pending: number[] = []
  /** Characters of the text of context and pending ids that were given out. */
  #given: number

  /** @param before ids that the stream continues, a prompt's; their text is not given out */
  constructor(tokenizer: Pick<TextTokenizer, 'decode'>, before: ArrayLike<number> = []) {
    this.#tokenizer = tokenizer
    this.#context = Array.from(before).slice(-CONTEXT_IDS)
    this.#given = this.#text().length
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
