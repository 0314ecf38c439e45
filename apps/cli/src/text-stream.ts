import type { TextTokenizer } from '@phsa/model'

/** Turns token ids into text as they come. A character whose bytes spread over several tokens is held back until it is whole. */
export class TextStream {
  readonly #tokenizer: Pick<TextTokenizer, 'decode'>
  #pending: number[] = []
  #printed = ''

  constructor(tokenizer: Pick<TextTokenizer, 'decode'>) {
    this.#tokenizer = tokenizer
  }

  /** The text that this token completes; empty while a character is unfinished. */
  push(id: number): string {
    this.#pending.push(id)
    const text = this.#tokenizer.decode(this.#pending)
    return text.endsWith('\u{FFFD}') ? '' : this.#take(text)
  }

  /** What was held back. */
  end(): string {
    return this.#take(this.#tokenizer.decode(this.#pending))
  }

  /** Keeps the last token as context, because some tokenizers drop the space of a token at the start of a text. */
  #take(text: string): string {
    const fresh = text.slice(this.#printed.length)
    this.#pending = this.#pending.slice(-1)
    this.#printed = this.#tokenizer.decode(this.#pending)
    return fresh
  }
}
