/** What a grammar may have, all its schemas together: what compiles in about a second. */
const MOST = {
  /** Schemas and values; a property counts twice. */
  parts: 2048,
  /** Counts of repetitions. */
  repeated: 4096,
  /** Of names and values, as they are written. */
  characters: 2 ** 16,
}
const IN_WORDS: Readonly<Record<keyof typeof MOST, string>> = {
  parts: `has more than ${MOST.parts} schemas, properties and values, the most that are taken`,
  repeated: `makes lists of more than ${MOST.repeated}, the most that are taken together`,
  characters: `has names and values of more than ${MOST.characters} characters, the most that are taken`,
}

/** How large a grammar is becoming. */
export class GrammarSize {
  readonly #size = { parts: 0, repeated: 0, characters: 0 }

  /** @returns what there is too much of now, if anything */
  add(what: keyof typeof MOST, count: number): string | undefined {
    this.#size[what] += count
    return this.#size[what] > MOST[what] ? IN_WORDS[what] : undefined
  }
}
