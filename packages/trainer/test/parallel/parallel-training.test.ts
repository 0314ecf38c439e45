import { cp, mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type HostArray, reference } from '@phsa/core'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { listCheckpoints } from '../../src/checkpoint/checkpoint-folder.js'
import { type RankResult, type RankTask, runRankTask } from './rank-task.js'
import { RankThreads } from './rank-threads.js'
import type { RankAnswer } from './rank-worker.js'

let pair: RankThreads
let folder: string
beforeAll(async () => {
  pair = new RankThreads(2)
  folder = await mkdtemp(join(tmpdir(), 'phsa-parallel-'))
})
afterAll(async () => {
  await pair.close()
  await rm(folder, { recursive: true, force: true })
})

/** Both ranks, where both came to an end: they have the same bits. */
async function runPair(task: RankTask): Promise<RankResult> {
  const [first, second] = (await pair.run(task)).map(whole)
  expect(second.parameters).toEqual(first.parameters)
  const told = ({ events }: RankResult) => events.map(({ checkpoint: _, ...event }) => event)
  expect(told(second)).toEqual(told(first))
  expect(second.events.filter(({ checkpoint }) => checkpoint !== undefined)).toEqual([])
  return first
}

function whole(answer: RankAnswer): Extract<RankAnswer, { ok: true }> {
  if (!answer.ok) throw new Error(answer.message)
  return answer
}

const alone = async (task: RankTask) => runRankTask({ ...task, accumulate: 2 * task.accumulate }, await reference())

/** Largest difference of any parameter. */
function distance(actual: ReadonlyMap<string, HostArray>, expected: ReadonlyMap<string, HostArray>): number {
  expect([...actual.keys()]).toEqual([...expected.keys()])
  return Math.max(
    ...[...expected].flatMap(([name, values]) => Array.from(values, (value, index) => Math.abs(value - actual.get(name)![index]))),
  )
}

const DENSE: RankTask = { dtype: 'f64', steps: 3, accumulate: 1 }
const SPARSE: RankTask = { ...DENSE, isSparse: true, accumulate: 2 }

test.each([
  ['dense', DENSE, 1e-12],
  ['with an output head of its own', { ...DENSE, isTied: false }, 1e-12],
  ['sparse with distillation', SPARSE, 1e-12],
  ['with a learned lambda, an average of the weights and recall', { ...SPARSE, learns: true }, 1e-5],
  ['with blocks that are drawn', { ...SPARSE, policy: 'random' }, 1e-12],
  ['in f32', { ...SPARSE, dtype: 'f32' }, 1e-5],
] as const)('two ranks give what one gives with twice the micro-batches: %s', async (_, task, bound) => {
  const [both, one] = [await runPair(task), await alone(task)]
  expect(both.events).toHaveLength(task.steps)
  expect(distance(both.parameters, one.parameters)).toBeLessThan(bound)
  for (const [index, event] of one.events.entries()) {
    expect(both.events[index]).toMatchObject({ step: event.step, tokens: event.tokens, topK: event.topK, skipped: false })
    expect(Math.abs(both.events[index].loss - event.loss)).toBeLessThan(bound)
    expect(Math.abs(both.events[index].gradientNorm - event.gradientNorm)).toBeLessThan(bound * 10)
    expect(Math.abs((both.events[index].distillationLoss ?? -1) - (event.distillationLoss ?? -1))).toBeLessThan(bound * 10)
  }
})

test('a row that is no number on one rank skips the step on both', async () => {
  const { events } = await runPair({ ...DENSE, damagedRow: 3 })
  expect(events.map(({ skipped }) => skipped)).toEqual([false, true, false])
})

test('one rank writes; a run that is resumed ends as the unbroken one', async () => {
  const task: RankTask = { ...SPARSE, dtype: 'f32', steps: 4, learns: true }
  const unbroken = await runPair({ ...task, folder: join(folder, 'unbroken') })
  const broken = { ...task, folder: join(folder, 'broken') }
  // Asked on the rank that writes nothing.
  const stopped = await runPair({ ...broken, stop: { rank: 1, step: 2 } })
  expect(stopped.events.at(-1)?.step).toBe(2)
  expect((await listCheckpoints(broken.folder)).map(({ step }) => step)).toEqual([2])
  const half = { ...task, folder: join(folder, 'half') }
  for (const end of ['', '.jsonl']) await cp(`${broken.folder}${end}`, `${half.folder}${end}`, { recursive: true })
  const resumed = await runPair({ ...broken, resume: true })
  expect(resumed.parameters).toEqual(unbroken.parameters)
  expect(await logged(broken.folder)).toEqual(await logged(join(folder, 'unbroken')))
  // And by one process that makes the same steps.
  expect(distance((await alone({ ...half, resume: true })).parameters, unbroken.parameters)).toBeLessThan(1e-5)
})

async function logged(run: string): Promise<unknown[]> {
  const lines = (await readFile(`${run}.jsonl`, 'utf8')).trimEnd().split('\n')
  return lines.map((line) => {
    const { tokensPerSecond: _, ...event } = JSON.parse(line)
    return event
  })
}

test('a rank with another model is named before the first step', async () => {
  const answers = await pair.run({ ...DENSE, stranger: 1, dtype: 'f32', folder: join(folder, 'stranger') })
  for (const answer of answers) {
    expect(answer).toMatchObject({ ok: false, code: 'invalid-config' })
    expect(answer).toHaveProperty(
      'message',
      expect.stringMatching(/rank 1 of 2 has other parameters than rank 0; give all ranks the same model/),
    )
  }
})

test('a rank that fails ends the other; what was saved before is whole', async () => {
  const run = join(folder, 'failing')
  const task: RankTask = { ...DENSE, dtype: 'f32', steps: 4, folder: run }
  const [first, second] = await pair.run({ ...task, missing: { rank: 1, row: 7 } })
  expect(second).toMatchObject({ ok: false, message: expect.stringContaining('rank 1 cannot read row 7') })
  expect(first).toMatchObject({ ok: false, code: 'backend-lost', message: expect.stringContaining('rank 1 of 2 ended') })
  expect((await listCheckpoints(run)).map(({ step }) => step)).toEqual([3])
  expect((await readdir(run)).filter((name) => name.startsWith('.'))).toEqual([])
  expect((await runPair({ ...task, resume: true })).events.map(({ step }) => step)).toEqual([4])
})
