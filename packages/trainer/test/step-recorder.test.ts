import { type CapturedStep, type DType, type ModelBackend, OutOfMemoryError, RandomStream, reference, SparsitySchedule } from '@phsa/core'
import { nextTokenBatch } from '@phsa/model'
import { expect, test, vi } from 'vitest'
import { createTrainer, type StepEvent, type TrainerOptions, type TrainingData } from '../src/index.js'
import { letterPunctuation, tinyModel } from './tiny-model.js'

const TOKENS = 48

type Settings = Pick<TrainerOptions, 'data' | 'schedule' | 'distillation' | 'policy' | 'validation' | 'ema' | 'recall'>

/** Rows of the lengths given, in turn. */
function data(...lengths: number[][]): TrainingData {
  return {
    fingerprint: 'drawn',
    rows: () => ({
      row: (index) => {
        const random = new RandomStream(index)
        const ids = (length: number) => Int32Array.from({ length }, () => 1 + random.below(28))
        return { sequences: lengths[index % lengths.length].map(ids) }
      },
    }),
  }
}

/** A backend that records: it runs the step at each replay, as a recording does, without anything from the host. */
function recording(plain: ModelBackend, room = true) {
  const { memory } = plain
  const counts = { captures: 0, replays: 0, live: 0 }
  const capture = async <T>(step: () => T): Promise<CapturedStep<T>> => {
    counts.captures++
    if (!room) throw new OutOfMemoryError('no room for a recording')
    counts.live++
    let result: T | undefined
    const free = () => {
      disposeTensors(result)
      result = undefined
    }
    return {
      get result() {
        if (result === undefined) throw new Error('read before the first replay')
        return result
      },
      replay() {
        free()
        counts.replays++
        const refuse = () => {
          throw new Error('something from the host in a recorded step')
        }
        const spies = (['upload', 'write', 'download'] as const).map((name) => vi.spyOn(memory, name).mockImplementation(refuse))
        result = memory.scope(step)
        for (const spy of spies) spy.mockRestore()
      },
      dispose() {
        free()
        counts.live--
      },
    }
  }
  const backend: ModelBackend = {
    ...plain,
    supports: (spec) => plain.supports(spec),
    prepare: (specs) => plain.prepare(specs),
    dispose: () => plain.dispose(),
    capture,
  }
  return { backend, counts }
}

/** Disposes all tensors in a value. */
function disposeTensors(value: unknown): void {
  if (typeof value !== 'object' || value === null) return
  if ('dispose' in value && typeof value.dispose === 'function') value.dispose()
  else for (const part of Object.values(value)) disposeTensors(part)
}

async function run(backend: ModelBackend, options: Settings, dtype: DType = 'f32'): Promise<StepEvent[]> {
  const before = backend.memory.usage()
  const model = await tinyModel({ backend, dtype })
  const events: StepEvent[] = []
  const batch = { sequences: 1, tokens: TOKENS, accumulate: 2 }
  for await (const event of createTrainer({ model, punctuation: letterPunctuation, batch, steps: 6, ...options })) {
    events.push({ ...event, tokensPerSecond: 0 })
  }
  model.dispose()
  expect(backend.memory.usage()).toEqual(before)
  return events
}

const sparse = new SparsitySchedule([{ kind: 'sparse', share: 1, topK: 2, distillation: true }])

test.each<[string, number[][], number, Omit<Settings, 'data'>]>([
  ['one length', [[TOKENS]], 5, { schedule: sparse }],
  ['packed rows of the same lengths, fewer distillation rows', [[20, 28]], 0, { schedule: sparse, distillation: { rowsPerSequence: 4 } }],
  ['without distillation', [[20, 28]], 5, { schedule: sparse, distillation: { coefficient: 0 } }],
  [
    'a learned lambda and an average of the weights',
    [[TOKENS]],
    5,
    {
      schedule: sparse,
      distillation: { lambda: 'learned' },
      ema: { decay: 0.5, validate: true },
      validation: { batches: [nextTokenBatch([Int32Array.of(1, 2, 3)])], every: 100 },
    },
  ],
  ['lengths that change', [[20, 28], [48], [30, 18]], 0, { schedule: sparse }],
  ['a sparse stage after a dense one', [[TOKENS]], 4, {}],
  ['blocks that are drawn on the host', [[TOKENS]], 0, { schedule: sparse, policy: 'random' }],
  ['blocks that are numbered on the host', [[TOKENS]], 0, { schedule: sparse, policy: 'oracle' }],
  [
    'validation in between',
    [[TOKENS]],
    5,
    { schedule: sparse, validation: { batches: [nextTokenBatch([Int32Array.of(1, 2, 3)])], every: 2 } },
  ],
])('%s: the same numbers as without a recording', async (_, lengths, replays, options) => {
  const { backend, counts } = recording(await reference())
  const events = await run(backend, { data: data(...lengths), ...options })
  expect(events).toEqual(await run(await reference(), { data: data(...lengths), ...options }))
  expect(counts).toMatchObject({ replays, live: 0 })
})

test.each<DType>(['f32', 'bf16'])('a micro-batch without a finite loss skips its step in a recording too, in %s', async (dtype) => {
  const whole = data([TOKENS])
  const damaged: TrainingData = {
    fingerprint: 'row 9 is damaged',
    rows: (options) => ({
      row: (index) => ({
        ...whole.rows(options).row(index),
        targetWeights: [new Float32Array(TOKENS).fill(index === 9 ? Number.NaN : 1)],
      }),
    }),
  }
  const settings: Settings = { data: damaged, schedule: sparse, distillation: { lambda: 'learned' }, ema: { decay: 0.5 } }
  const { backend, counts } = recording(await reference())
  const events = await run(backend, settings, dtype)
  expect(events.map(({ skipped }) => skipped)).toEqual([false, false, false, false, true, false])
  expect(events).toEqual(await run(await reference(), settings, dtype))
  expect(counts).toMatchObject({ replays: 5, live: 0 })
})

test('validation frees the recording, and the next step records anew', async () => {
  const { backend, counts } = recording(await reference())
  const validation = { batches: [nextTokenBatch([Int32Array.of(1, 2, 3)])], every: 2 }
  await run(backend, { data: data([TOKENS]), schedule: sparse, validation })
  expect(counts).toEqual({ captures: 3, replays: 5, live: 0 })
})

test('where there is no room for a recording the run goes on without', async () => {
  const { backend, counts } = recording(await reference(), false)
  const events = await run(backend, { data: data([TOKENS]), schedule: sparse })
  expect(events).toEqual(await run(await reference(), { data: data([TOKENS]), schedule: sparse }))
  expect(counts).toEqual({ captures: 1, replays: 0, live: 0 })
})
