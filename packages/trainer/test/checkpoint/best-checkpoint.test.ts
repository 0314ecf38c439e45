import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import fc from 'fast-check'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { checkpointName } from '../../src/checkpoint/checkpoint-folder.js'
import { planCheckpoints } from '../../src/checkpoint/checkpoint-options.js'
import { findCheckpoint } from '../../src/checkpoint/find-checkpoint.js'
import { pruneCheckpoints } from '../../src/checkpoint/prune-checkpoints.js'
import { heldOutBatches } from '../../src/evaluation/held-out-batches.js'
import { letterData, letterPunctuation } from '../tiny-model.js'
import { collect, tinyRun } from '../tiny-run.js'

let folder: string
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'phsa-best-'))
})
afterEach(() => rm(folder, { recursive: true, force: true }))

type Measured = { readonly loss?: number; readonly topK?: number | 'dense' }

/** The part of a checkpoint that a choice reads. */
async function fakeCheckpoint(step: number, { loss, topK = 2 }: Measured): Promise<void> {
  const path = join(folder, checkpointName(step))
  await mkdir(path)
  const position = { step, updates: step, tokens: step, row: step, distillationRandom: 1, skips: 0, seed: 0 }
  const validation = loss === undefined ? {} : { validation: { loss, perplexity: Math.exp(loss), topK } }
  await writeFile(join(path, 'trainer.json'), JSON.stringify({ version: 1, ...position, topK: 2, ...validation }))
}

const kept = async () => (await readdir(folder)).sort().map((name) => Number(name.slice('step-'.length)))
const best = async () => Number(basename(await findCheckpoint(folder, 'best')).slice('step-'.length))

test.each<[string, Measured[], number]>([
  ['the lowest loss', [{ loss: 3 }, { loss: 1 }, { loss: 2 }], 2],
  ['the first of two equal ones', [{ loss: 1 }, { loss: 1 }], 1],
  ['of those that were measured', [{ loss: 3 }, {}, { loss: 2 }, {}], 3],
  ['not one whose loss is no number', [{ loss: 3 }, { loss: Number.NaN }], 1],
  ['of those with the attention of the newest', [{ loss: 1, topK: 'dense' }, { loss: 3 }, { loss: 2.5 }, { loss: 2.7 }], 3],
])('the best is %s', async (_, measured, expected) => {
  for (const [index, result] of measured.entries()) await fakeCheckpoint(index + 1, result)
  expect(await best()).toBe(expected)
})

test('a damaged record is no candidate, and without any there is no best', async () => {
  await fakeCheckpoint(1, { loss: 2 })
  await fakeCheckpoint(2, { loss: 1 })
  await writeFile(join(folder, checkpointName(2), 'trainer.json'), '{')
  expect(await best()).toBe(1)
  await rm(join(folder, checkpointName(1)), { recursive: true })
  await expect(findCheckpoint(folder, 'best')).rejects.toThrow('has a validation loss; set validation')
  expect(await findCheckpoint(folder)).toBe(join(folder, checkpointName(2)))
})

test('the newest stay and the best besides; without best only the newest', async () => {
  for (const [index, loss] of [3, 1, 2, 2.5, 2.2].entries()) await fakeCheckpoint(index + 1, { loss })
  await pruneCheckpoints(folder, { keep: 2, best: 'validation' })
  expect(await kept()).toEqual([2, 4, 5])
  await pruneCheckpoints(folder, { keep: 2, best: 'none' })
  expect(await kept()).toEqual([4, 5])
})

test('whatever is removed on the way, the best is the best of all that were ever written', async () => {
  const run = fc.array(fc.record({ loss: fc.option(fc.integer({ min: 1, max: 9 }), { nil: undefined }), sparse: fc.boolean() }), {
    minLength: 1,
    maxLength: 8,
  })
  await fc.assert(
    fc.asyncProperty(run, fc.integer({ min: 1, max: 3 }), async (measured, keep) => {
      await rm(folder, { recursive: true, force: true })
      await mkdir(folder)
      // Dense first, as schedules are.
      const stages = measured.map(({ sparse }) => sparse).sort()
      let expected: (Measured & { step: number }) | undefined
      for (const [index, { loss }] of measured.entries()) {
        const result = { loss, topK: stages[index] ? 2 : ('dense' as const) }
        await fakeCheckpoint(index + 1, result)
        await pruneCheckpoints(folder, { keep, best: 'validation' })
        if (loss !== undefined && (result.topK !== expected?.topK || loss < expected.loss!)) expected = { ...result, step: index + 1 }
        const steps = await kept()
        expect(steps.slice(-keep)).toEqual(Array.from({ length: Math.min(keep, index + 1) }, (_, back) => index + 1 - back).reverse())
        expect(steps.length).toBeLessThanOrEqual(keep + 1)
        if (expected) expect(await best()).toBe(expected.step)
      }
    }),
    { numRuns: 40 },
  )
})

test('a run with validation keeps its best checkpoint, and says in its record why', async () => {
  const heldOut = await letterData('jukebox quiz: jazzy lynx, pyjamas, wok. jukebox quiz: jazzy lynx, pyjamas, wok.')
  const batches = heldOutBatches(heldOut, { windows: 1, tokens: 40, punctuation: letterPunctuation })
  // Of other letters than the run's text: the more it learns, the higher the loss.
  const optimizer = { learningRate: 0.05, warmupSteps: 0 }
  const validation = { batches, every: 1 }
  const events = await collect(await tinyRun({ optimizer, validation, checkpoint: { folder, every: 1, keep: 1 } }))
  const sparse = events.filter(({ topK }) => topK !== 'dense')
  const lowest = sparse.reduce((low, event) => (event.validation!.loss < low.validation!.loss ? event : low))
  expect(lowest.step).toBeLessThan(6)
  expect(await kept()).toEqual([lowest.step, 6])
  expect(await best()).toBe(lowest.step)
})

test.each([
  [{ best: 'validation' } as const, undefined, /there is no validation/],
  [{ best: 'validation', every: 100 } as const, 150, /only the last has both/],
  [{ best: 'loss' as 'none' }, undefined, /best is "loss"; give 'validation' or 'none'/],
  [{ maxShardBytes: 0 }, undefined, /maxShardBytes is 0/],
])('%j with validation every %s is refused', (options, every, message) => {
  const run = { dtype: 'f32', steps: 250, validation: every === undefined ? undefined : { every } } as const
  expect(() => planCheckpoints({ folder, ...options }, run)).toThrow(message)
})

test('the best is kept where there is validation, unless told', () => {
  const run = { dtype: 'f32', steps: 1000, validation: { every: 100 } } as const
  expect(planCheckpoints({ folder }, run)).toMatchObject({ best: 'validation', keep: 2, every: 500, maxShardBytes: 5e9 })
  expect(planCheckpoints({ folder, best: 'none' }, run).best).toBe('none')
  expect(planCheckpoints({ folder }, { ...run, validation: undefined }).best).toBe('none')
  expect(planCheckpoints({ folder, best: 'validation', every: 200 }, run).best).toBe('validation')
})
