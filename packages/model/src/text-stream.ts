import type { TextTokenizer } from './text-tokenizer.js'

/** Ids of a prompt that are kept as context: enough to end on whole characters. */
const CONTEXT_IDS = 8
/** A character has at most four bytes: of more broken ones in a row the first are certain. */
const MOST_HELD = 4
/** Ids that may be pending; more are broken bytes, which nothing would ever end. */
const MOST_PENDING = 32

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
    // Of a long prompt not every id is gone through.
    this.#context = Array.prototype.slice.call(before, -CONTEXT_IDS)
    this.#given = this.#text().length
  }

  /** @returns the text that is certain now; often empty in the middle of a character */
  push(id: number): string {
    this.#pending.push(id)
    const text = this.#text()
    // Bytes that are no whole character yet decode to U+FFFD at the end.
    let certain = text.length
    while (certain > text.length - MOST_HELD && text[certain - 1] === '\uFFFD') certain--
    const fresh = text.slice(this.#given, certain)
    this.#given = Math.max(this.#given, certain)
    if (certain === text.length) this.#keepAsContext(0)
    else if (this.#pending.length > MOST_PENDING) this.#keepAsContext(CONTEXT_IDS)
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

  /** @param open ids that stay pending: enough for every character that is not whole yet */
  #keepAsContext(open: number): void {
    const held = Math.max(0, this.#text().length - this.#given)
    const known = this.#pending.length - open
    this.#context = this.#pending.slice(0, known)
    this.#pending = this.#pending.slice(known)
    this.#given = this.#text().length - held
  }
}
