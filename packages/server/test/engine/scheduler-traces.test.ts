import fc from 'fast-check'
import { expect, test } from 'vitest'
import { PagePool } from '../../src/engine/page-pool.js'
import { type Chunk, Scheduler, type SchedulerOptions } from '../../src/engine/scheduler.js'
import { Sequence } from '../../src/engine/sequence.js'

interface Bounds {
  readonly pages: number
  readonly pageTokens: number
  readonly maxSequences: number
  readonly stepTokens: number
  readonly promptTokens: number
}

interface Arrival {
  readonly step: number
  readonly promptLength: number
  readonly maxTokens: number
  /** Prompts of the same topic begin alike. */
  readonly topic: number
  /** Given up after so many steps. */
  readonly patience: number
  /** Made tokens after which its text ends by itself. */
  readonly stopsAfter: number
}

const bounds: fc.Arbitrary<Bounds> = fc.record({
  pages: fc.integer({ min: 1, max: 12 }),
  pageTokens: fc.integer({ min: 1, max: 4 }),
  maxSequences: fc.integer({ min: 1, max: 5 }),
  stepTokens: fc.integer({ min: 5, max: 12 }),
  promptTokens: fc.integer({ min: 12, max: 20 }),
})

const arrivals: fc.Arbitrary<Arrival[]> = fc.array(
  fc.record({
    step: fc.nat(30),
    promptLength: fc.integer({ min: 1, max: 24 }),
    maxTokens: fc.integer({ min: 1, max: 16 }),
    topic: fc.nat(2),
    patience: fc.oneof({ weight: 4, arbitrary: fc.constant(10_000) }, { weight: 1, arbitrary: fc.nat(20) }),
    stopsAfter: fc.oneof({ weight: 2, arbitrary: fc.constant(10_000) }, { weight: 1, arbitrary: fc.nat(12) }),
  }),
  { minLength: 1, maxLength: 14 },
)

/** What a model would say: depends on all tokens before. */
const nextToken = (tokens: readonly number[]) => tokens.reduce((mixed, token) => (mixed * 31 + token + 7) % 1009, 17)

const promptOf = ({ topic, promptLength }: Arrival) =>
  Int32Array.from({ length: promptLength }, (_, index) => topic * 1000 + Math.floor(index / 12))

function textOf(arrival: Arrival): number[] {
  const tokens = [...promptOf(arrival)]
  for (let made = 0; made < Math.min(arrival.maxTokens, arrival.stopsAfter); made++) tokens.push(nextToken(tokens))
  return tokens
}

/** The caches of a model, by what they would hold: a number for all tokens that led to each key. */
class Keys {
  readonly #places = new Map<number, number>()
  readonly #pageTokens: number

  constructor(pageTokens: number) {
    this.#pageTokens = pageTokens
  }

  write(sequence: Sequence, start: number, end: number): void {
    const marks = this.#marks(sequence.tokens, end)
    for (let position = start; position < end; position++) this.#places.set(this.#place(sequence.pages, position), marks[position])
  }

  /** What is computed of a token that is none, or for nobody. */
  spoil(pages: readonly number[], start: number, end: number): void {
    for (let position = start; position < end; position++) this.#places.set(this.#place(pages, position), -1)
  }

  /** Whether the keys of these first tokens are those of the sequence's own. */
  hold(sequence: Sequence, length: number): boolean {
    return this.#marks(sequence.tokens, length).every((mark, position) => this.#places.get(this.#place(sequence.pages, position)) === mark)
  }

  #marks(tokens: readonly number[], length: number): number[] {
    let mark = 1
    return tokens.slice(0, length).map((token) => {
      mark = (mark * 48_271 + token + 11) % 2_147_483_647
      return mark
    })
  }

  #place(pages: readonly number[], position: number): number {
    return pages[Math.floor(position / this.#pageTokens)] * this.#pageTokens + (position % this.#pageTokens)
  }
}

function expectOwnPages(scheduler: Scheduler, pool: PagePool, { pageTokens, pages }: Bounds): void {
  const owners = new Map<number, Sequence[]>()
  for (const sequence of scheduler.running) {
    expect(new Set(sequence.pages).size).toBe(sequence.pages.length)
    for (const page of sequence.pages) owners.set(page, [...(owners.get(page) ?? []), sequence])
  }
  expect(scheduler.waiting.flatMap((sequence) => sequence.pages)).toEqual([])
  const all = Array.from({ length: pages }, (_, page) => page)
  expect(all.map((page) => pool.holders(page))).toEqual(all.map((page) => owners.get(page)?.length ?? 0))
  expect(pool.counts.used).toBe(owners.size)
  for (const [page, sharers] of owners) {
    if (sharers.length === 1) continue
    const contents = sharers.map((sequence) => {
      const end = (sequence.pages.indexOf(page) + 1) * pageTokens
      expect(sequence.computed).toBeGreaterThanOrEqual(end)
      return sequence.tokens.slice(0, end).join()
    })
    expect(new Set(contents).size).toBe(1)
  }
}

interface Replayed {
  readonly preemptions: number
  readonly found: number
  /** Steps that were scheduled before the tokens of the one before were known. */
  readonly ahead: number
  /** Chunks of who had left when their step was taken in. */
  readonly gone: number
  readonly finished: Map<Arrival, number[]>
}

/** Runs a whole trace against `Keys`; checks every step. @returns how often pages were taken back, and tokens found */
function replay(trace: readonly Arrival[], limits: Bounds, isAhead: boolean): Replayed {
  const pool = new PagePool(limits.pages)
  const options: SchedulerOptions = { ...limits, pool, maxWaiting: 1000 }
  const scheduler = new Scheduler(options)
  const keys = new Keys(limits.pageTokens)
  const arrivalOf = new Map<Sequence, Arrival>()
  const order: Sequence[] = []
  const finished = new Map<Arrival, number[]>()
  let found = 0
  let ahead = 0
  let gone = 0
  let chunks: Chunk[] | undefined
  /** Of the sequences in `chunks` when these were queued: what a device writes to, whoever has left since. */
  let pagesOf = new Map<Sequence, number[]>()
  const leaving = new Set<Sequence>()
  // Some leave before the next step is queued, some after that.
  const leave = (step: number, moment: 0 | 1) => {
    for (const sequence of [...scheduler.running, ...scheduler.waiting]) {
      const { step: start, patience } = arrivalOf.get(sequence)!
      if (step - start < patience || patience % 2 !== moment) continue
      if (chunks) leaving.add(sequence)
      else scheduler.remove(sequence)
    }
  }
  const pending = [...trace].sort((a, b) => a.step - b.step)
  const work = trace.reduce((sum, { promptLength, maxTokens }) => sum + promptLength + maxTokens, 0)
  for (let step = 0; chunks || pending.length + scheduler.running.length + scheduler.waiting.length > 0; step++) {
    // The oldest takes at least a token in every step, so this is more than enough.
    expect(step).toBeLessThan(60 + work)
    while (pending.length > 0 && pending[0].step <= step) {
      const arrival = pending.shift()!
      const sequence = new Sequence({ prompt: promptOf(arrival), maxTokens: arrival.maxTokens, rootHash: 'root' })
      if (sequence.mostKeys > limits.pages * limits.pageTokens) {
        expect(() => scheduler.add(sequence)).toThrow(/the cache holds/)
        continue
      }
      scheduler.add(sequence)
      arrivalOf.set(sequence, arrival)
      order.push(sequence)
    }
    leave(step, 0)

    const oldest = [...scheduler.running, ...scheduler.waiting][0]
    const running = new Set(scheduler.running)
    chunks ??= scheduler.schedule()
    expectOwnPages(scheduler, pool, limits)
    expect(scheduler.running.length).toBeLessThanOrEqual(limits.maxSequences)
    const isDecoding = scheduler.running.some(({ tokens, computed }) => tokens.length - computed === 1)
    expect(chunks.reduce((sum, { count }) => sum + count, 0)).toBeLessThanOrEqual(isDecoding ? limits.stepTokens : limits.promptTokens)
    expect([...scheduler.running, ...scheduler.waiting]).toEqual(
      order.filter((sequence) => scheduler.running.includes(sequence) || scheduler.waiting.includes(sequence)),
    )
    // A step that was queued before somebody left is of those who ran then.
    if (oldest && chunks.every(({ sequence }) => running.has(sequence) || !pagesOf.has(sequence)))
      expect(chunks.map(({ sequence }) => sequence)).toContain(oldest)
    const { preemptions } = scheduler
    const canGoAhead = isAhead && chunks.length > 0 && leaving.size === 0
    const prompts: Chunk[] | undefined = canGoAhead ? scheduler.extendPrompts(chunks) : undefined
    const next: Chunk[] | undefined = prompts ?? (canGoAhead ? scheduler.extend(chunks) : undefined)
    expect(scheduler.preemptions).toBe(preemptions)
    if (next) {
      ahead++
      expectOwnPages(scheduler, pool, limits)
      if (!prompts) expect(next).toEqual(chunks.map(({ sequence, start }) => ({ sequence, start: start + 1, count: 1 })))
    }
    leave(step, 1)
    for (const { sequence, start, count } of chunks) {
      if (!scheduler.running.includes(sequence)) {
        gone++
        keys.spoil(pagesOf.get(sequence)!, start, start + count)
        continue
      }
      if (!running.has(sequence)) found += start
      expect(start).toBe(sequence.computed)
      expect(keys.hold(sequence, start)).toBe(true)
      const written = sequence.pages.slice(Math.floor(start / limits.pageTokens), Math.ceil((start + count) / limits.pageTokens))
      expect(written).toHaveLength(Math.ceil((start + count) / limits.pageTokens) - Math.floor(start / limits.pageTokens))
      // What is written is nobody else's.
      expect(written.every((page) => pool.holders(page) === 1)).toBe(true)
      if (start + count > sequence.tokens.length) keys.spoil(sequence.pages, start, start + 1)
      else keys.write(sequence, start, start + count)
    }
    // Of who left before a step is taken in, nothing is published.
    scheduler.settle(chunks.filter(({ sequence }) => !leaving.has(sequence)))
    for (const { sequence } of chunks) {
      if (leaving.has(sequence) || sequence.computed < sequence.tokens.length) continue
      expect(keys.hold(sequence, sequence.computed)).toBe(true)
      const arrival = arrivalOf.get(sequence)!
      if (sequence.made < arrival.stopsAfter) sequence.tokens.push(nextToken(sequence.tokens))
      else leaving.add(sequence)
      if (sequence.made === sequence.maxTokens) leaving.add(sequence)
      if (leaving.has(sequence)) finished.set(arrival, sequence.tokens)
    }
    chunks = next
    pagesOf = new Map(chunks?.map(({ sequence }) => [sequence, [...sequence.pages]]))
    // Pages come back after one step, though the next may be under way, which still writes to them.
    for (const sequence of leaving) scheduler.remove(sequence)
    if (!chunks) leaving.clear()
  }
  expect(pool.counts.used).toBe(0)
  return { preemptions: scheduler.preemptions, found, ahead, gone, finished }
}

test('no page leaks or is owned twice unless shared and full, the oldest advances in every step, and texts are those of lone runs', () => {
  fc.assert(
    fc.property(arrivals, bounds, fc.boolean(), (trace, limits, isAhead) => {
      const { finished } = replay(trace, limits, isAhead)
      const fitting = trace.filter(({ promptLength, maxTokens }) => promptLength + maxTokens - 1 <= limits.pages * limits.pageTokens)
      for (const arrival of fitting) {
        if (arrival.patience === 10_000) expect(finished.has(arrival)).toBe(true)
        if (finished.has(arrival)) expect(finished.get(arrival)).toEqual(textOf(arrival))
      }
    }),
    { numRuns: 100 },
  )
})

test('the traces meet what they are to show: pages taken back, prompts found, steps ahead, also of who has left', () => {
  const limits = { pages: 8, pageTokens: 2, maxSequences: 4, stepTokens: 8, promptTokens: 12 }
  const arrival = { promptLength: 5, maxTokens: 9, topic: 0, patience: 10_000, stopsAfter: 10_000 }
  const { preemptions, found, ahead, gone } = replay(
    [
      { ...arrival, step: 0 },
      { ...arrival, step: 1 },
      { ...arrival, step: 2 },
      { ...arrival, step: 60, stopsAfter: 4 },
    ],
    limits,
    true,
  )
  expect(ahead).toBeGreaterThan(0)
  expect(gone).toBeGreaterThan(0)
  expect(preemptions).toBeGreaterThan(0)
  expect(found).toBeGreaterThan(0)
})
