import { InvalidInputError } from '@phsa/model'
import type { PagePool } from './page-pool.js'
import { QueueFullError } from './queue-full-error.js'
import type { Sequence } from './sequence.js'

/** Bounds of one step and of the queue. */
export interface SchedulerOptions {
  readonly pool: PagePool
  readonly pageTokens: number
  /** Sequences in one step. */
  readonly maxSequences: number
  /** Tokens in one step, at least maxSequences, so that each running sequence gets one. */
  readonly stepTokens: number
  /** Tokens in one step that keeps nobody waiting for a next token: all that run still read their prompts. At least stepTokens. */
  readonly promptTokens: number
  /** Sequences that may wait, beside those that the next step has places for. */
  readonly maxWaiting: number
}

/** Tokens of one sequence in one step. */
export interface Chunk<S extends Sequence = Sequence> {
  readonly sequence: S
  /** Position of the first of them. */
  readonly start: number
  readonly count: number
}

/**
 * Decides what each step computes. Sequences start in the order of their arrival, as soon as there are pages for all their tokens; each step takes the
 * next token of every sequence that decodes, and fills up with prompts, the oldest first. When pages run out, the youngest gives its own back and waits
 * as the next to start, to be computed again. The oldest therefore always advances, and everything ends. Pure: it knows no device and no clock.
 */
export class Scheduler<S extends Sequence = Sequence> {
  readonly #options: SchedulerOptions
  /** By arrival. */
  readonly #waiting: S[] = []
  /** By arrival, all of them before the first that waits. */
  readonly #running: S[] = []
  #preemptions = 0

  constructor(options: SchedulerOptions) {
    this.#options = options
  }

  get waiting(): readonly S[] {
    return this.#waiting
  }

  get running(): readonly S[] {
    return this.#running
  }

  /** How often pages were taken back. */
  get preemptions(): number {
    return this.#preemptions
  }

  /**
   * Queues a sequence.
   * @throws InvalidInputError for one that all pages together could not hold, QueueFullError
   */
  add(sequence: S): void {
    const { pool, pageTokens, maxWaiting, maxSequences } = this.#options
    const places = pool.counts.total * pageTokens
    if (sequence.mostKeys > places) {
      throw new InvalidInputError(
        `the prompt has ${sequence.promptLength} tokens and ${sequence.maxTokens} more were asked for; the cache holds ${places}. Ask for less, or start the server with a larger cache.`,
      )
    }
    // A burst is no queue as far as there are places for it in the next step.
    if (this.#waiting.length >= maxWaiting + maxSequences - this.#running.length) {
      throw new QueueFullError(`${this.#waiting.length} requests wait already, as many as may; try again later.`)
    }
    this.#waiting.push(sequence)
  }

  /** The next step's chunks, at most one a sequence; none when there is nothing to do now. `settle` them before the next call. */
  schedule(): Chunk<S>[] {
    this.#secureDecoding()
    this.#admit()
    return this.#divide(({ computed }) => computed)
  }

  /**
   * The step after one that gives no token: parts of prompts only, followed by more of them. `settle` both in order.
   * @param chunks of the last step
   * @returns undefined where that step gives a token, or somebody could start
   */
  extendPrompts(chunks: readonly Chunk<S>[]): Chunk<S>[] | undefined {
    const ends = new Map(chunks.map(({ sequence, start, count }) => [sequence, start + count]))
    const isPrompts = chunks.every(({ sequence, start, count }) => start + count < sequence.tokens.length)
    return isPrompts && !this.#placeOfNext() ? this.#divide((sequence) => ends.get(sequence) ?? sequence.computed) : undefined
  }

  /**
   * The step after one whose tokens are not known yet: each sequence one token further. Takes free pages, and nobody's. `settle` both in order.
   * @param chunks of the last step
   * @returns undefined where that step has to be settled first: somebody could start, ends there or does not decode, or there is no page
   */
  extend(chunks: readonly Chunk<S>[]): Chunk<S>[] | undefined {
    const { pool, pageTokens } = this.#options
    if (chunks.length !== this.#running.length || this.#placeOfNext()) return undefined
    const lacksPage = ({ sequence, start }: Chunk<S>) => sequence.pages.length * pageTokens < start + 2
    let missing = 0
    for (const chunk of chunks) {
      const { sequence, start, count } = chunk
      if (count > 1 || start + 1 < sequence.tokens.length || sequence.isHeld || sequence.made + 1 >= sequence.maxTokens) return undefined
      if (lacksPage(chunk)) missing++
    }
    if (missing > pool.available) return undefined
    return chunks.map((chunk) => {
      if (lacksPage(chunk)) chunk.sequence.pages.push(pool.take()!)
      return { sequence: chunk.sequence, start: chunk.start + 1, count: 1 }
    })
  }

  /** Makes the hashes that `settle` will ask for: while the device computes, they cost no time. */
  hashPages(chunks: readonly Chunk<S>[]): void {
    const { pageTokens } = this.#options
    for (const { sequence, start, count } of chunks) {
      const pages = Math.floor(Math.min(start + count, sequence.tokens.length) / pageTokens)
      if (pages > 0) sequence.hashOf(pages - 1, pageTokens)
    }
  }

  /** The chunks were computed: their full pages can be found from now on. What lies past the tokens of a sequence that has ended was computed in vain. */
  settle(chunks: readonly Chunk<S>[]): void {
    const { pool, pageTokens } = this.#options
    for (const { sequence, start, count } of chunks) {
      if (start + count > sequence.tokens.length) continue
      sequence.computed = start + count
      for (let page = Math.floor(start / pageTokens); (page + 1) * pageTokens <= sequence.computed; page++) {
        pool.publish(sequence.pages[page], sequence.hashOf(page, pageTokens))
      }
    }
  }

  /**
   * Takes a sequence out, finished or not, and gives its pages back; nothing where it is out already. Not between `schedule` and `settle`. Chunks that
   * `extend` and `extendPrompts` have made of it may be under way; they are not settled then.
   */
  remove(sequence: S): void {
    for (const list of [this.#waiting, this.#running]) {
      const index = list.indexOf(sequence)
      if (index >= 0) list.splice(index, 1)
    }
    this.#takeBack(sequence)
  }

  /** Gives every decoding sequence the page of its next token. */
  #secureDecoding(): void {
    const { pool, pageTokens } = this.#options
    // By arrival; those that are pushed out are at the end, so none of them is met.
    for (let index = 0; index < this.#running.length; index++) {
      const sequence = this.#running[index]
      while (this.#running.length > index && sequence.pages.length * pageTokens < sequence.tokens.length) {
        const page = pool.take()
        if (page === undefined) this.#preempt()
        else sequence.pages.push(page)
      }
    }
  }

  /** The youngest gives its pages back and is the next to start. */
  #preempt(): void {
    const youngest = this.#running.pop()!
    this.#takeBack(youngest)
    this.#waiting.unshift(youngest)
    this.#preemptions++
  }

  #takeBack(sequence: S): void {
    this.#options.pool.release(sequence.pages)
    sequence.pages = []
    sequence.computed = 0
  }

  #admit(): void {
    const { pool, pageTokens } = this.#options
    for (let place = this.#placeOfNext(); place; place = this.#placeOfNext()) {
      const sequence = this.#waiting.shift()!
      for (const page of place.found) pool.hold(page)
      sequence.computed = place.found.length * pageTokens
      sequence.pages = [...place.found, ...Array.from({ length: place.missing }, () => pool.take()!)]
      this.#running.push(sequence)
    }
  }

  /** Published pages that the first that waits begins with, and how many it needs besides; undefined where it cannot start now, or nobody waits. */
  #placeOfNext(): { readonly found: readonly number[]; readonly missing: number } | undefined {
    const { pool, pageTokens, maxSequences } = this.#options
    if (this.#waiting.length === 0 || this.#running.length >= maxSequences) return undefined
    const sequence = this.#waiting[0]
    const found = this.#findPages(sequence)
    // Prompts are worked oldest first, so waiting for what an older one computes costs no time and saves the work.
    if (this.#isUnderWay(sequence, found.length)) return undefined
    const missing = Math.ceil(sequence.tokens.length / pageTokens) - found.length
    const spared = found.filter((page) => pool.isFree(page)).length
    // A page each is left for those that run, who would otherwise soon push it out. Alone it always fits: `add` saw to that.
    return pool.available - spared - missing < this.#running.length ? undefined : { found, missing }
  }

  /** Published pages that its tokens begin with. The last token is never among them: it has to be computed for the next one. */
  #findPages(sequence: S): number[] {
    const { pool, pageTokens } = this.#options
    const pages: number[] = []
    if (!sequence.usesCache) return pages
    while ((pages.length + 1) * pageTokens < sequence.tokens.length) {
      const page = pool.find(sequence.hashOf(pages.length, pageTokens))
      if (page === undefined) break
      pages.push(page)
    }
    return pages
  }

  /** Whether a running sequence is about to compute a page that this one could share. */
  #isUnderWay(sequence: S, page: number): boolean {
    const { pageTokens } = this.#options
    const end = (page + 1) * pageTokens
    if (!sequence.usesCache || end >= sequence.tokens.length) return false
    const hash = sequence.hashOf(page, pageTokens)
    return this.#running.some((other) => other.computed < end && end <= other.tokens.length && other.hashOf(page, pageTokens) === hash)
  }

  /** @param computed tokens whose keys are in the caches when the step begins */
  #divide(computed: (sequence: S) => number): Chunk<S>[] {
    const left = (sequence: S) => sequence.tokens.length - computed(sequence)
    const ready = this.#running.filter((sequence) => !sequence.isHeld)
    const decoding = ready.filter((sequence) => left(sequence) === 1)
    const prompts = ready.filter((sequence) => left(sequence) > 1)
    // Who is held decodes soon.
    const isDecoding = this.#running.some((sequence) => left(sequence) === 1)
    let budget = isDecoding ? this.#options.stepTokens : this.#options.promptTokens
    const chunks: Chunk<S>[] = []
    for (const sequence of [...decoding, ...prompts]) {
      const count = Math.min(left(sequence), budget)
      if (count === 0) break
      chunks.push({ sequence, start: computed(sequence), count })
      budget -= count
    }
    return chunks
  }
}
