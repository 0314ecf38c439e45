import { RandomStream, reference } from '@phsa/core'
import { DecoderModel } from '@phsa/model'
import { expect, test } from 'vitest'
import { evaluateRetrieval, type RetrievalOptions, type RetrievalRow } from '../../src/evaluation/evaluate-retrieval.js'
import { planPrompts, promptTokens } from '../../src/evaluation/retrieval-prompts.js'
import { testedBackends } from '../backends.js'
import { copyConfig, copyModel, copyPhsa, copyTask } from '../copy-model.js'

const random = new RandomStream(1)
const haystack = Int32Array.from({ length: 400 }, () => random.below(16))

async function options(changes: Partial<RetrievalOptions> = {}): Promise<RetrievalOptions> {
  const model = changes.model ?? copyModel(await reference())
  return {
    model,
    task: copyTask,
    haystack,
    lengths: [60, 96],
    depths: [0, 0.5, 1],
    trials: 4,
    policies: ['phsa'],
    topKs: [0, 1],
    ...changes,
  }
}

async function evaluate(given: RetrievalOptions): Promise<{ table: RetrievalRow[]; rows: RetrievalRow[]; done: number[]; total: number }> {
  const iterator = evaluateRetrieval(given)
  const [rows, done]: [RetrievalRow[], number[]] = [[], []]
  let total = 0
  for (;;) {
    const next = await iterator.next()
    if (next.done) return { table: next.value, rows, done, total }
    done.push(next.value.done)
    total = next.value.total
    if (next.value.row) rows.push(next.value.row)
  }
}

const accuracies = ({ cells }: RetrievalRow) => cells.map(({ length, depth, accuracy }) => [length, depth, accuracy])

test.each(testedBackends)('a model that copies finds every needle that its attention sees, and no other, on $name', async ({ create }) => {
  const backend = await create()
  const model = copyModel(backend)
  const before = backend.memory.usage()
  const { table, rows, done, total } = await evaluate(await options({ model }))
  expect(backend.memory.usage()).toEqual(before)
  expect(rows).toEqual(table)
  expect(total).toBe(3 * 2 * 3 * 4)
  expect(done).toEqual(Array.from({ length: total }, (_, index) => index + 1))
  expect(JSON.parse(JSON.stringify(table))).toEqual(table)

  const [dense, blind, seeing] = table
  expect(dense).toMatchObject({ policy: 'dense', topK: 'dense', activatedTokens: 96, sparsity: 0, overall: { accuracy: 100, trials: 24 } })
  expect(seeing).toMatchObject({ policy: 'phsa', topK: 1, activatedTokens: 16, overall: { accuracy: 100, informationLoss: 0 } })
  // Without a chosen block only what is at the start or near the end is seen.
  expect(blind).toMatchObject({ policy: 'phsa', topK: 0, activatedTokens: 12, sparsity: 1 - 12 / 96 })
  const expected = [60, 96].flatMap((length) => [0, 0.5, 1].map((depth) => [length, depth, depth === 0.5 ? 0 : 100]))
  expect(accuracies(blind)).toEqual(expected)
  expect(blind.overall.informationLoss).toBeCloseTo(100 / 3, 10)
  expect(blind.cells[1].interval[0]).toBe(0)
  expect(blind.cells[1].interval[1]).toBeGreaterThan(40)
  backend.dispose()
})

test.each([1, 150, 100_000])('prompts answer alike alone and in batches of %i tokens', async (batchTokens) => {
  // Trained on nothing, and copying: answers of both kinds must stay with their prompts.
  for (const model of [undefined, DecoderModel.create({ config: copyConfig, backend: await reference(), phsa: copyPhsa, seed: 2 })]) {
    const settings = { ...(model && { model }), lengths: [60, 61, 96], policies: ['phsa', 'mean-pool'], topKs: [0, 1] }
    expect(await evaluate(await options({ ...settings, batchTokens }))).toEqual(await evaluate(await options(settings)))
  }
})

test('blocks drawn at random miss most needles in the middle', async () => {
  const { table } = await evaluate(await options({ policies: ['random'], topKs: [1], lengths: [96], depths: [0.5], trials: 12 }))
  expect(table[0].overall.accuracy).toBe(100)
  expect(table[1].overall.accuracy).toBeLessThan(30)
})

test('a line of random blocks does not depend on the lines beside it', async () => {
  const lineOf = async (topKs: readonly number[]) => {
    const { table } = await evaluate(await options({ policies: ['random'], topKs, lengths: [60], depths: [0.5], trials: 20 }))
    return table.find(({ topK }) => topK === 5)!
  }
  const alone = await lineOf([5])
  expect(alone.overall.accuracy).toBeGreaterThan(0)
  expect(await lineOf([3, 5])).toEqual(alone)
})

test('a model that was never trained finds nothing', async () => {
  const model = DecoderModel.create({ config: copyConfig, backend: await reference(), phsa: copyPhsa, seed: 2 })
  const { table } = await evaluate(await options({ model, policies: [] }))
  expect(table).toHaveLength(1)
  expect(table[0].overall).toMatchObject({ trials: 24, accuracy: 0, informationLoss: 100 })
})

test('an answer of which one token is wrong does not count', async () => {
  const wrongEnd = {
    trial: (random: RandomStream) => {
      const { needle, question } = copyTask.trial(random)
      return { needle, question, answer: Int32Array.of(needle[0], needle[1] === 24 ? 25 : 24) }
    },
  }
  const { table } = await evaluate(await options({ task: wrongEnd, policies: [] }))
  expect(table[0].overall.accuracy).toBe(0)
})

test('a prompt depends on its own length, depth and number, and on the seed', async () => {
  const [alone, among, other] = [
    planPrompts(await options({ lengths: [96], depths: [0.5] })),
    planPrompts(await options({ lengths: [60, 96], depths: [0.25, 0.5], trials: 6 })),
    planPrompts(await options({ lengths: [96], depths: [0.5], seed: 1 })),
  ]
  const found = among.filter(({ length, depth }) => length === 96 && depth === 0.5)
  expect(found.slice(0, 4)).toEqual(alone)
  expect(other).not.toEqual(alone)
  expect(new Set(alone.map((prompt) => promptTokens(prompt, haystack).join())).size).toBe(4)
})

test.each([
  ['haystack', { haystack: haystack.slice(0, 80) }, 'needs 93'],
  ['haystack', { haystack: haystack.with(3, 40) }, 'has the id 40'],
  ['lengths', { lengths: [60, 256] }, '257 tokens; this model takes at most 256'],
  ['lengths', { lengths: [2] }, 'alone take 3'],
  ['lengths', { lengths: [] }, 'is empty'],
  ['depths', { depths: [1.5] }, 'depths is 1.5'],
  ['trials', { trials: 0 }, 'trials is 0'],
  ['topKs', { topKs: [] }, 'is empty'],
  ['batchTokens', { batchTokens: 0 }, 'at least 1'],
  [
    'task',
    { task: { trial: () => ({ needle: Int32Array.of(99), question: Int32Array.of(1), answer: Int32Array.of(1) }) } },
    'needle that the task made has the id 99',
  ],
  ['policy', { policies: ['best'] }, 'no selection policy'],
  [
    'task',
    { task: { trial: () => ({ needle: Int32Array.of(1), question: Int32Array.of(1), answer: new Int32Array(0) }) } },
    'answer has no token',
  ],
])('says what is wrong with %s: %#', async (setting, wrong, message) => {
  const run = evaluate(await options(wrong))
  await expect(run).rejects.toMatchObject({ code: 'invalid-config', setting, message: expect.stringContaining(message) })
})

test('stops at the signal', async () => {
  const stop = new AbortController()
  const iterator = evaluateRetrieval(await options({ signal: stop.signal }))
  expect((await iterator.next()).value).toMatchObject({ done: 1 })
  stop.abort(new Error('stopped'))
  await expect(iterator.next()).rejects.toThrow('stopped')
})
