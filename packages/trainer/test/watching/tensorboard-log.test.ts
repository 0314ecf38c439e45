import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { PbfReader } from 'pbf'
import { afterEach, beforeEach, expect, test } from 'vitest'
import type { StepEvent } from '../../src/step-event.js'
import { eachRecord } from '../../src/watching/event-record.js'
import { TensorboardLog } from '../../src/watching/tensorboard-log.js'

let folder: string
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'phsa-tensorboard-'))
})
afterEach(() => rm(folder, { recursive: true }))

const stepEvent = (step: number, more: Partial<StepEvent> = {}): StepEvent => ({
  step,
  tokens: step * 64,
  loss: 4 / step,
  gradientNorm: 1,
  learningRate: 0.001,
  stage: 0,
  topK: 'dense',
  tokensPerSecond: 1000,
  skipped: false,
  ...more,
})

/** Values by step of one tag, over all files in TensorBoard's order. */
async function curve(tag: string): Promise<[step: number, value: number][]> {
  const points: [number, number][] = []
  for (const name of (await readdir(folder)).sort()) {
    const file = await readFile(join(folder, name))
    let start = 0
    for (const { end, step } of eachRecord(file)) {
      new PbfReader(file.subarray(start + 12, end - 4)).readFields((field, _, event) => {
        if (field === 5) event.readMessage((_one, __, summary) => summary.readMessage(readValue(step), undefined), undefined)
      }, undefined)
      start = end
    }
  }
  return points

  function readValue(step: number) {
    let name = ''
    return (field: number, _: undefined, value: PbfReader) => {
      if (field === 1) name = value.readString()
      if (field === 2 && name === tag) points.push([step, value.readFloat()])
    }
  }
}

async function logSteps(steps: readonly number[], resumedAt?: number): Promise<TensorboardLog> {
  const log = await TensorboardLog.open(folder, { resumedAt, description: { seed: 1 } })
  for (const step of steps) await log.append(stepEvent(step))
  return log
}

test('a step is a record with its curves; what was not measured has none', async () => {
  const log = await TensorboardLog.open(folder, { description: {} })
  await log.append(stepEvent(1))
  await log.append(stepEvent(2, { topK: 8, distillationLoss: 0.5, mfu: 0.25, validation: { loss: 1, perplexity: Math.E } }))
  await log.append(stepEvent(3, { loss: Number.NaN, gradientNorm: Number.NaN, skipped: true }))
  expect(await curve('train/loss')).toEqual([
    [1, 4],
    [2, 2],
    [3, Number.NaN],
  ])
  expect(await curve('schedule/topK')).toEqual([[2, 8]])
  expect(await curve('speed/mfu')).toEqual([[2, 0.25]])
  expect(await curve('validation/perplexity')).toEqual([[2, Math.fround(Math.E)]])
  expect(await curve('train/skipped')).toEqual([
    [1, 0],
    [2, 0],
    [3, 1],
  ])
})

test('a resumed run has every step once, also after a kill within a record', async () => {
  const { path } = await logSteps([1, 2, 3, 4])
  const whole = await readFile(path)
  await writeFile(path, whole.subarray(0, -5))
  await logSteps([3, 4, 5], 2)
  await logSteps([4, 5, 6], 3)
  expect((await curve('train/loss')).map(([step]) => step)).toEqual([1, 2, 3, 4, 5, 6])
  expect(await readdir(folder)).toHaveLength(3)
})

test('resuming twice from one checkpoint leaves no empty file behind', async () => {
  await logSteps([1, 2, 3])
  await logSteps([], 2)
  await logSteps([3], 2)
  expect(await readdir(folder)).toHaveLength(2)
  expect((await curve('train/loss')).map(([step]) => step)).toEqual([1, 2, 3])
})

test('a run that begins anew where there was no checkpoint leaves nothing of the first attempt', async () => {
  await logSteps([1, 2])
  await logSteps([1], 0)
  expect(await curve('train/loss')).toEqual([[1, 4]])
  expect(await readdir(folder)).toHaveLength(1)
})

test('the events of another run are refused and left alone', async () => {
  const { path } = await logSteps([1, 2, 3])
  const before = await readFile(path)
  const refused = expect.objectContaining({ code: 'invalid-config', message: expect.stringContaining('another run') })
  await expect(TensorboardLog.open(folder, { description: {} })).rejects.toEqual(refused)
  await expect(TensorboardLog.open(folder, { resumedAt: 0, mostSteps: 2, description: {} })).rejects.toEqual(refused)
  expect(await readFile(path)).toEqual(before)
})

test('a place that takes no folder is refused', async () => {
  await writeFile(join(folder, 'file'), '')
  await expect(TensorboardLog.open(join(folder, 'file'), { description: {} })).rejects.toThrow('event files cannot be written to')
})
