import { pageHash } from './page-hash.js'

/** What the scheduler has to know of a request. */
export interface SequenceOptions {
  readonly prompt: Int32Array
  /** Most tokens to make. */
  readonly maxTokens: number
  /** Where the hashes of its pages start, see `rootHash`. */
  readonly rootHash: string
  /** Whether every token has to be computed although its keys may be there: where something is wanted of each row. */
  readonly computesAll?: boolean
}

/** A request as the scheduler sees it: its tokens, how many of them are in the caches, and the pages that hold them. */
export class Sequence {
  /** Prompt, then made tokens. */
  readonly tokens: number[] = []
  readonly promptLength: number
  readonly maxTokens: number
  /** Pages of its tokens in order; those from `computed` on are reserved. */
  pages: number[] = []
  /** Tokens whose keys are in the caches. */
  computed = 0
  /** Whether published pages of its prompt may be used. */
  usesCache: boolean
  /** Hashes of its full pages, as far as they were asked for. */
  readonly #hashes: string[] = []
  readonly #rootHash: string

  constructor({ prompt, maxTokens, rootHash, computesAll = false }: SequenceOptions) {
    // Several times as fast as Array.from, which takes long for a long prompt.
    for (let index = 0; index < prompt.length; index++) this.tokens.push(prompt[index])
    this.promptLength = prompt.length
    this.maxTokens = maxTokens
    this.usesCache = !computesAll
    this.#rootHash = rootHash
  }

  /** Tokens made so far. */
  get made(): number {
    return this.tokens.length - this.promptLength
  }

  /** Most tokens that ever lie in the caches: the last one made is never read again. */
  get mostKeys(): number {
    return this.promptLength + this.maxTokens - 1
  }

  /** Whether it cannot advance now: what its next token may be is still being worked out. */
  get isHeld(): boolean {
    return false
  }

  /** Hash of a page whose tokens are all known. */
  hashOf(page: number, pageTokens: number): string {
    for (let next = this.#hashes.length; next <= page; next++) {
      const tokens = new Int32Array(this.tokens.slice(next * pageTokens, (next + 1) * pageTokens))
      this.#hashes.push(pageHash(next === 0 ? this.#rootHash : this.#hashes[next - 1], tokens))
    }
    return this.#hashes[page]
  }
}
