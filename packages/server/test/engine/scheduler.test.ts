import { expect, test } from 'vitest'
import { PagePool } from '../../src/engine/page-pool.js'
import { type Chunk, Scheduler, type SchedulerOptions } from '../../src/engine/scheduler.js'
import { Sequence } from '../../src/engine/sequence.js'

function schedulerOf(limits: Partial<Omit<SchedulerOptions, 'pool'> & { pages: number }> = {}) {
  const { pages = 8, stepTokens = 6, ...rest } = limits
  const pool = new PagePool(pages)
  return {
    pool,
    scheduler: new Scheduler({ pool, pageTokens: 2, maxSequences: 4, stepTokens, promptTokens: stepTokens, maxWaiting: 2, ...rest }),
  }
}

const sequenceOf = (length: number, maxTokens = 1, more: { computesAll?: boolean; rootHash?: string } = {}) =>
  new Sequence({ prompt: new Int32Array(length).fill(1), maxTokens, rootHash: 'root', ...more })

test('a full queue refuses', () => {
  const { scheduler } = schedulerOf({ maxSequences: 1, maxWaiting: 2 })
  for (let count = 0; count < 3; count++) scheduler.add(sequenceOf(1))
  expect(() => scheduler.add(sequenceOf(1))).toThrow(/3 requests wait already/)
  scheduler.schedule()
  expect(() => scheduler.add(sequenceOf(1))).toThrow(/2 requests wait already/)
})

test('decoding goes before prompts, and prompts get what is left', () => {
  const { scheduler } = schedulerOf()
  const first = sequenceOf(2, 4)
  scheduler.add(first)
  scheduler.settle(scheduler.schedule())
  first.tokens.push(5)
  scheduler.add(sequenceOf(9))
  expect(scheduler.schedule().map(({ start, count }) => [start, count])).toEqual([
    [2, 1],
    [2, 5],
  ])
})

test('prompts take more while nobody decodes', () => {
  const { scheduler } = schedulerOf({ promptTokens: 10, pages: 20 })
  scheduler.add(sequenceOf(8, 4))
  scheduler.add(sequenceOf(9, 4, { rootHash: 'other' }))
  const chunks = scheduler.schedule()
  expect(chunks.map(({ count }) => count)).toEqual([8, 2])
  scheduler.settle(chunks)
  chunks[0].sequence.tokens.push(5)
  expect(scheduler.schedule().map(({ count }) => count)).toEqual([1, 5])
})

test.each([
  [4, 1],
  [5, 2],
])('of %i pages a page is left for who runs, so that nobody starts only to be pushed out: %i start', (pages, running) => {
  const { scheduler } = schedulerOf({ pages, stepTokens: 8 })
  scheduler.add(sequenceOf(3, 4))
  scheduler.settle(scheduler.schedule())
  scheduler.add(sequenceOf(4, 2, { rootHash: 'other' }))
  scheduler.schedule()
  expect(scheduler.running).toHaveLength(running)
})

test('prompts that begin alike and arrive together are computed once', () => {
  const { scheduler, pool } = schedulerOf({ pages: 20, stepTokens: 4 })
  const same = [sequenceOf(9, 2), sequenceOf(9, 2), sequenceOf(9, 2)]
  for (const sequence of same) scheduler.add(sequence)
  let computed = 0
  while (same.some((sequence) => sequence.computed < 9)) {
    const chunks = scheduler.schedule()
    computed += chunks.reduce((sum, { count }) => sum + count, 0)
    scheduler.settle(chunks)
    for (const { sequence } of chunks) if (sequence.computed === sequence.tokens.length) sequence.tokens.push(7)
  }
  // The last token of each, and what the first makes meanwhile.
  expect(computed).toBeLessThanOrEqual(9 + 1 + 1 + 2)
  expect(pool.holders(same[0].pages[0])).toBe(3)
})

test('the last token of a prompt is computed though its page is there', () => {
  const { scheduler } = schedulerOf()
  const first = sequenceOf(4)
  scheduler.add(first)
  scheduler.settle(scheduler.schedule())
  scheduler.remove(first)
  scheduler.add(sequenceOf(4))
  expect(scheduler.schedule()).toMatchObject([{ start: 2, count: 2 }])
})

test('another root, or a request that needs every row, finds nothing', () => {
  const { scheduler } = schedulerOf()
  const first = sequenceOf(5)
  scheduler.add(first)
  scheduler.settle(scheduler.schedule())
  scheduler.remove(first)
  scheduler.add(sequenceOf(5, 1, { rootHash: 'other' }))
  expect(scheduler.schedule()).toMatchObject([{ start: 0, count: 5 }])
  scheduler.remove(scheduler.running[0])
  scheduler.add(sequenceOf(5, 1, { computesAll: true }))
  expect(scheduler.schedule()).toMatchObject([{ start: 0, count: 5 }])
})

/** Sequences that decode, each with its first token. */
function decoding(scheduler: Scheduler, ...sequences: Sequence[]): Chunk[] {
  for (const sequence of sequences) scheduler.add(sequence)
  scheduler.settle(scheduler.schedule())
  for (const sequence of sequences) sequence.tokens.push(7)
  return scheduler.schedule()
}

test('parts of prompts are followed by more of them, as long as they give no token', () => {
  const { scheduler } = schedulerOf({ pages: 20 })
  scheduler.add(sequenceOf(15, 4))
  scheduler.add(sequenceOf(4, 4, { rootHash: 'other' }))
  const first = scheduler.schedule()
  const second = scheduler.extendPrompts(first)!
  const third = scheduler.extendPrompts(second)!
  expect([first, second, third].map((chunks) => chunks.map(({ start, count }) => [start, count]))).toEqual([
    [[0, 6]],
    [[6, 6]],
    [
      [12, 3],
      [0, 3],
    ],
  ])
  expect(scheduler.extendPrompts(third)).toBeUndefined()
  scheduler.add(sequenceOf(1))
  expect(scheduler.extendPrompts(first)).toBeUndefined()
})

test('a step is extended by a token of each sequence and the pages for it', () => {
  const { scheduler } = schedulerOf()
  const [first, second] = [sequenceOf(2, 9), sequenceOf(1, 9)]
  const chunks = decoding(scheduler, first, second)
  expect([first, second].map(({ pages }) => pages.length)).toEqual([2, 1])
  const next = scheduler.extend(chunks)
  expect(next?.map(({ start, count }) => [start, count])).toEqual([
    [3, 1],
    [2, 1],
  ])
  expect([first, second].map(({ pages }) => pages.length)).toEqual([2, 2])
})

test.each<[string, (scheduler: Scheduler, chunks: readonly Chunk[]) => void]>([
  ['another could start', (scheduler) => scheduler.add(sequenceOf(1))],
  ['one ends there by its length', (_, [{ sequence }]) => Object.assign(sequence, { maxTokens: 2 })],
  ['one is held', (_, [{ sequence }]) => Object.defineProperty(sequence, 'isHeld', { value: true })],
])('a step is not extended where %s', (_, change) => {
  const { scheduler } = schedulerOf()
  const chunks = decoding(scheduler, sequenceOf(1, 9), sequenceOf(1, 9))
  change(scheduler, chunks)
  expect(scheduler.extend(chunks)).toBeUndefined()
})

test('a step is not extended where there is no page, and takes none', () => {
  const { scheduler, pool } = schedulerOf({ pages: 3 })
  const [first, second] = [sequenceOf(2, 3), sequenceOf(1, 4)]
  const chunks = decoding(scheduler, first, second)
  expect(pool.available).toBe(0)
  expect(scheduler.extend(chunks)).toBeUndefined()
  expect([scheduler.preemptions, first.pages.length, second.pages.length]).toEqual([0, 2, 1])
})

test('a step is extended while those that wait have no place', () => {
  const { scheduler } = schedulerOf({ maxSequences: 1 })
  const chunks = decoding(scheduler, sequenceOf(1, 9))
  scheduler.add(sequenceOf(1))
  expect(scheduler.extend(chunks)).toHaveLength(1)
})

test('what was computed past the end of a text is not published', () => {
  const { scheduler, pool } = schedulerOf()
  const sequence = sequenceOf(2, 9)
  const chunks = decoding(scheduler, sequence)
  const next = scheduler.extend(chunks)!
  scheduler.settle(chunks)
  // No token comes: the text has ended, and the position that would fill its second page holds nothing.
  scheduler.settle(next)
  scheduler.remove(sequence)
  expect(pool.counts).toMatchObject({ used: 0, cached: 1 })
})
