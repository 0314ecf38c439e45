import { InvalidInputError } from './invalid-input-error.js'

/**
 * Looks for stop strings in a text that comes in pieces, and holds back what may be the start of one. Of several the one that is complete first
 * counts, the longest of those; so it does not matter where the pieces end.
 */
export class StopSearch {
  readonly #stops: readonly string[]
  #held = ''
  #found = false

  /** @throws InvalidInputError for an empty string and for halves of characters */
  constructor(stops: readonly string[]) {
    for (const [index, text] of stops.entries()) {
      if (text === '') throw new InvalidInputError(`stop[${index}] is empty; give at least one character, or leave it out.`)
      if (/\p{Surrogate}/u.test(text)) {
        throw new InvalidInputError(`stop[${index}] holds half of a surrogate pair; give whole characters.`)
      }
    }
    this.#stops = stops
  }

  /** True once a stop string was found: nothing more comes. */
  get found(): boolean {
    return this.#found
  }

  /** What is held back: it may be the start of a stop string. */
  get held(): string {
    return this.#held
  }

  /** @param piece whole characters @returns text that is in no stop string, up to the stop string once there is one */
  push(piece: string): string {
    if (this.#found) return ''
    const text = this.#held + piece
    const start = this.#firstStop(text)
    this.#found = start !== undefined
    const certain = start ?? text.length - this.#possibleStart(text)
    this.#held = this.#found ? '' : text.slice(certain)
    return text.slice(0, certain)
  }

  /** What was held back, at the end of the text. */
  end(): string {
    const rest = this.#held
    this.#held = ''
    return rest
  }

  #firstStop(text: string): number | undefined {
    const matches = this.#stops.map((stop) => ({ start: text.indexOf(stop), length: stop.length })).filter(({ start }) => start >= 0)
    matches.sort((a, b) => a.start + a.length - b.start - b.length || a.start - b.start)
    return matches[0]?.start
  }

  /** Length of the longest end of the text that a stop string begins with. */
  #possibleStart(text: string): number {
    const longest = Math.max(0, ...this.#stops.map((stop) => stop.length - 1))
    for (let length = Math.min(longest, text.length); length > 0; length--) {
      const end = text.slice(-length)
      if (this.#stops.some((stop) => stop.length > length && stop.startsWith(end))) return length
    }
    return 0
  }
}
