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
    return this.#divide()
  }

  /** The chunks were computed: their full pages can be found from now on. */
  settle(chunks: readonly Chunk<S>[]): void {
    const { pool, pageTokens } = this.#options
    for (const { sequence, start, count } of chunks) {
      sequence.computed = start + count
      for (let page = Math.floor(start / pageTokens); (page + 1) * pageTokens <= sequence.computed; page++) {
        pool.publish(sequence.pages[page], sequence.hashOf(page, pageTokens))
      }
    }
  }

  /** Takes a sequence out, finished or not, and gives its pages back. Not between `schedule` and `settle`. */
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
    const { pool, pageTokens, maxSequences } = this.#options
    while (this.#waiting.length > 0 && this.#running.length < maxSequences) {
      const sequence = this.#waiting[0]
      const found = this.#findPages(sequence)
      // Prompts are worked oldest first, so waiting for what an older one computes costs no time and saves the work.
      if (this.#isUnderWay(sequence, found.length)) return
      const missing = Math.ceil(sequence.tokens.length / pageTokens) - found.length
      const spared = found.filter((page) => pool.isFree(page)).length
      // A page each is left for those that run, who would otherwise soon push it out. Alone it always fits: `add` saw to that.
      if (pool.available - spared - missing < this.#running.length) return
      for (const page of found) pool.hold(page)
      sequence.computed = found.length * pageTokens
      sequence.pages = [...found, ...Array.from({ length: missing }, () => pool.take()!)]
      this.#running.push(sequence)
      this.#waiting.shift()
    }
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

  #divide(): Chunk<S>[] {
    const left = (sequence: S) => sequence.tokens.length - sequence.computed
    const ready = this.#running.filter((sequence) => !sequence.isHeld)
    const decoding = ready.filter((sequence) => left(sequence) === 1)
    const prompts = ready.filter((sequence) => left(sequence) > 1)
    let budget = this.#options.stepTokens
    const chunks: Chunk<S>[] = []
    for (const sequence of [...decoding, ...prompts]) {
      const count = Math.min(left(sequence), budget)
      if (count === 0) break
      chunks.push({ sequence, start: sequence.computed, count })
      budget -= count
    }
    return chunks
  }
}
