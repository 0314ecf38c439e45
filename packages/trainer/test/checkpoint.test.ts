import { existsSync, statSync } from 'node:fs'
import { appendFile, mkdir, mkdtemp, readdir, readFile, rm, statfs, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { elementCount, reference, serializeSafetensorsParts } from '@phsa/core'
import { loadModel } from '@phsa/model'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { checkpointName, listCheckpoints } from '../src/checkpoint/checkpoint-folder.js'
import { findCheckpoint } from '../src/checkpoint/find-checkpoint.js'
import { prepareCheckpointFolder } from '../src/checkpoint/prepare-checkpoints.js'
import { readSafetensors, type StoredTensor } from '../src/checkpoint/safetensors-disk.js'
import { createTrainer } from '../src/create-trainer.js'
import { StepLog } from '../src/step-log.js'
import type { TrainerOptions } from '../src/trainer-options.js'
import type { TrainingData } from '../src/training-data.js'
import { testedBackends } from './backends.js'
import { reseal } from './reseal.js'
import { letterData, tinyConfig, tinyModel } from './tiny-model.js'
import { collect, numbers, tinyRun as settings, runText as TEXT } from './tiny-run.js'

let folder: string
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'phsa-trainer-'))
})
afterEach(() => rm(folder, { recursive: true, force: true }))

test.each([
  { dtype: 'f32', ...testedBackends[0] },
  { dtype: 'bf16', ...testedBackends[0] },
  { dtype: 'f16', ...testedBackends[0] },
  { dtype: 'f32', ...testedBackends[1] },
] as const)('three steps, a resume and three more are bit for bit six steps in $dtype on $name', async ({ dtype, create }) => {
  const backend = await create()
  const whole = await settings({ model: await tinyModel({ dtype, backend }) })
  const expected = await collect(whole)
  const checkpoint = { folder: join(folder, 'run'), every: 3 }
  const first = await collect(await settings({ model: await tinyModel({ dtype, backend }), checkpoint }), 3)
  expect(first).toHaveLength(3)
  const resumed = await settings({ model: await tinyModel({ seed: 999, dtype, backend }), checkpoint, resume: checkpoint.folder })
  const rest = await collect(resumed)
  expect(numbers([...first, ...rest])).toEqual(numbers(expected))
  expect(expected.at(-1)!.distillationLoss).toBeGreaterThan(0)
  for (const [name, tensor] of whole.model.parameters) {
    const other = resumed.model.parameters.get(name)!
    expect(await backend.memory.download(other)).toEqual(await backend.memory.download(tensor))
  }
  backend.dispose()
})

test('a resume after a skipped step is bit for bit the run without it', async () => {
  const text = await letterData(TEXT)
  // The first step sees rows 0 and 1.
  const data: TrainingData = {
    fingerprint: 'not a number at first',
    rows: (options) => ({
      row: (index) => {
        const { sequences } = text.rows(options).row(index)
        return { sequences, targetWeights: sequences.map(({ length }) => new Float32Array(length).fill(index === 0 ? Number.NaN : 1)) }
      },
    }),
  }
  const expected = await collect(await settings({ data }))
  const first = await collect(await settings({ data, checkpoint: { folder, every: 3 } }), 3)
  expect(first.map(({ skipped }) => skipped)).toEqual([true, false, false])
  const rest = await collect(await settings({ data, resume: folder }))
  expect(numbers([...first, ...rest])).toEqual(numbers(expected))
  expect(JSON.parse(await readFile(join(await findCheckpoint(folder), 'trainer.json'), 'utf8'))).toMatchObject({ step: 3, updates: 2 })
})

test('an abort while a step runs lets it finish, saves it and ends', async () => {
  const stop = new AbortController()
  const base = await settings({ checkpoint: { folder, every: 100 }, signal: stop.signal })
  const data: TrainingData = {
    fingerprint: base.data.fingerprint,
    rows: (options) => ({
      row: (index) => {
        // The first row of the second step: that step has begun.
        if (index === 2) stop.abort()
        return base.data.rows(options).row(index)
      },
    }),
  }
  const events: Awaited<ReturnType<typeof collect>> = []
  for await (const event of createTrainer({ ...base, data })) events.push(event)
  expect(events.map(({ step, checkpoint }) => [step, checkpoint])).toEqual([
    [1, undefined],
    [2, join(folder, 'step-00000002')],
  ])
  expect(await listCheckpoints(folder)).toHaveLength(1)
})

test('an abort between two steps saves the last one', async () => {
  const events = await collect(await settings({ checkpoint: { folder, every: 100 } }), 2)
  expect(events.map(({ step, checkpoint }) => [step, checkpoint])).toEqual([
    [1, undefined],
    [2, undefined],
  ])
  expect((await listCheckpoints(folder)).map(({ step }) => step)).toEqual([2])
})

test('a checkpoint is a model folder, and only the newest are kept', async () => {
  const events = await collect(await settings({ checkpoint: { folder, every: 2, keep: 2, tokenizerFrom: undefined } }))
  expect(events.map(({ checkpoint }) => checkpoint !== undefined)).toEqual([false, true, false, true, false, true])
  expect((await readdir(folder)).sort()).toEqual(['step-00000004', 'step-00000006'])
  const newest = await findCheckpoint(folder)
  expect(newest).toBe(join(folder, 'step-00000006'))
  const names = ['config.json', 'manifest.json', 'model.safetensors', 'optimizer.safetensors', 'trainer.json']
  expect((await readdir(newest)).sort()).toEqual(names)
  const { model } = await loadModel(newest, { backend: await reference() })
  expect(model.phsa.blockSize).toBe(4)
  const record = JSON.parse(await readFile(join(newest, 'trainer.json'), 'utf8'))
  expect(record).toMatchObject({ version: 1, step: 6, updates: 6, tokens: 480, row: 12, stage: 1, topK: 2, policy: 'phsa', seed: 5 })
  expect(record.schedule.stages).toHaveLength(2)
})

test('a half-written checkpoint is ignored and cleared away', async () => {
  const checkpoint = { folder, every: 3 }
  await collect(await settings({ checkpoint }), 3)
  await mkdir(join(folder, '.step-00000006.tmp'))
  await writeFile(join(folder, '.step-00000006.tmp', 'model.safetensors'), 'half')
  const events = await collect(await settings({ checkpoint, resume: folder }))
  expect(events.map(({ step }) => step)).toEqual([4, 5, 6])
  expect((await readdir(folder)).sort()).toEqual(['step-00000003', 'step-00000006'])
})

test('the log has a line a step; a resume cuts those past its checkpoint and a torn one', async () => {
  const log = join(folder, 'logs', 'steps.jsonl')
  const checkpoint = { folder: join(folder, 'run'), every: 3 }
  await collect(await settings({ checkpoint, log }), 3)
  await appendFile(log, '{"step":4,"loss":1}\n{"step":5,"lo')
  await collect(await settings({ checkpoint, log, resume: checkpoint.folder }))
  const lines = (await readFile(log, 'utf8')).trimEnd().split('\n')
  const steps = lines.map((line) => JSON.parse(line))
  expect(steps.map(({ step }) => step)).toEqual([1, 2, 3, 4, 5, 6])
  expect(Object.keys(steps[5])).toEqual([
    'step',
    'tokens',
    'loss',
    'distillationLoss',
    'gradientNorm',
    'learningRate',
    'stage',
    'topK',
    'tokensPerSecond',
    'skipped',
  ])
})

test.each([
  ['data', async () => ({ data: await letterData('other text, quite another text.') })],
  ['batch.tokens', async () => ({ batch: { sequences: 2, tokens: 41 } })],
  ['batch.accumulate', async () => ({ batch: { sequences: 2, tokens: 40, accumulate: 2 } })],
  ['seed', async () => ({ seed: 6 })],
])('does not resume with another %s', async (setting, change) => {
  await collect(await settings({ checkpoint: { folder, every: 3 } }), 3)
  await expect(collect(await settings({ ...(await change()), resume: folder }))).rejects.toThrow(`written with ${setting}`)
})

test('does not write into the run of another', async () => {
  await collect(await settings({ checkpoint: { folder, every: 3 } }), 3)
  await expect(collect(await settings({ checkpoint: { folder } }))).rejects.toThrow('already holds step-00000003')
})

test('an f64 model trains, but not with checkpoints that would round it', async () => {
  const model = await tinyModel({ dtype: 'f64' })
  expect(await collect(await settings({ model, steps: 3 }))).toHaveLength(3)
  await expect(settings({ model, checkpoint: { folder } }).then(createTrainer)).rejects.toThrow('train it in f32')
})

test('says before the first step what cannot be written or read', async () => {
  const file = join(folder, 'file')
  await writeFile(file, '')
  await expect(collect(await settings({ checkpoint: { folder: join(file, 'run') } }))).rejects.toThrow('cannot be written')
  await expect(collect(await settings({ log: join(file, 'log.jsonl') }))).rejects.toThrow('cannot be written')
  const planned = { folder: join(folder, 'full'), step: 0, bytes: 2 ** 60, most: 3, writes: 9, isResumed: false }
  await expect(prepareCheckpointFolder(planned)).rejects.toThrow('free some space')
  expect(await prepareCheckpointFolder({ ...planned, writes: 0 })).toMatchObject({ setAside: [] })
  // Room for one, not for two: those that are there are removed when others are written.
  const { bavail, bsize } = await statfs(folder)
  const tight = { ...planned, folder: join(folder, 'tight'), step: 9, bytes: bavail * bsize * 0.7 }
  await expect(prepareCheckpointFolder(tight)).rejects.toThrow('free some space')
  for (const step of [8, 9]) await mkdir(join(tight.folder, checkpointName(step)))
  expect(await prepareCheckpointFolder(tight)).toMatchObject({ setAside: [] })
  await expect(collect(await settings({ resume: folder }))).rejects.toThrow('holds none')
})

test('names what is damaged in a checkpoint', async () => {
  await collect(await settings({ checkpoint: { folder, every: 3 } }), 3)
  const path = await findCheckpoint(folder)
  const record = JSON.parse(await readFile(join(path, 'trainer.json'), 'utf8'))
  await writeFile(join(path, 'trainer.json'), JSON.stringify({ ...record, row: -1 }))
  await reseal(path)
  await expect(collect(await settings({ resume: folder }))).rejects.toThrow('row is -1')
  await writeFile(join(path, 'trainer.json'), JSON.stringify(record))
  await writeFile(join(path, 'optimizer.safetensors'), 'short')
  await reseal(path)
  await expect(collect(await settings({ resume: folder }))).rejects.toThrow('optimizer.safetensors')
})

test('a checkpoint that cannot be written leaves the earlier one', async () => {
  const options = await settings({ checkpoint: { folder, every: 3, keep: 1 } })
  const run = async () => {
    for await (const event of createTrainer(options)) {
      // A file in the way of the next checkpoint's rename: as root, permissions would stop nothing.
      if (event.step === 3) await writeFile(join(folder, 'step-00000006'), 'in the way')
    }
  }
  await expect(run()).rejects.toThrow('earlier checkpoints are untouched')
  expect(existsSync(join(folder, 'step-00000003', 'trainer.json'))).toBe(true)
  expect((await readdir(folder)).filter((name) => name.startsWith('.'))).toEqual([])
})

test.each([
  ['tieWordEmbeddings', { tieWordEmbeddings: true }],
  ['ropeTheta', { ropeTheta: 500 }],
  ['ropeScaling', { ropeScaling: { type: 'linear' as const, factor: 2 } }],
  ['layers', { layers: 1 }],
])('does not resume into a model with another %s, even where its parameters are all there', async (setting, change) => {
  const untied = { ...tinyConfig, tieWordEmbeddings: false }
  await collect(await settings({ model: await tinyModel({ config: untied }), checkpoint: { folder, every: 3 } }), 3)
  const other = await settings({ model: await tinyModel({ config: { ...untied, ...change } }), resume: folder })
  await expect(collect(other)).rejects.toThrow(`${setting} is`)
})

test("a tokenizer that is not there, or not the model's, is reported before the first step", async () => {
  const events = createTrainer(await settings({ checkpoint: { folder, tokenizerFrom: join(folder, 'none') } }))[Symbol.asyncIterator]()
  await expect(events.next()).rejects.toThrow(/no tokenizer\.json/)
  const tokenizerFrom = fileURLToPath(new URL('../../../fixtures/tokenizer-8k', import.meta.url))
  const other = collect(await settings({ checkpoint: { folder, tokenizerFrom } }))
  await expect(other).rejects.toThrow('has ids up to 8191, this model takes 0 to 29')
})

test('a resume cuts a log down to nothing where all its steps are done again', async () => {
  const log = join(folder, 'steps.jsonl')
  await writeFile(log, '{"step":9}\n{"step":10}\n')
  await StepLog.open(log, 3)
  expect(await readFile(log, 'utf8')).toBe('')
})

test.each(['\n', 'null\n', '\n{"step":9}\n', 'my notes\n', '{"step":9'])(
  'a file that is no log is refused and left as it is: %j',
  async (text) => {
    const log = join(folder, 'steps.jsonl')
    await writeFile(log, text)
    for (const resumedAt of [undefined, 3]) {
      await expect(StepLog.open(log, resumedAt)).rejects.toMatchObject({
        setting: 'log',
        message: expect.stringContaining('is no step log'),
      })
    }
    expect(await readFile(log, 'utf8')).toBe(text)
  },
)

test('a new run does not go on in the log of another', async () => {
  const log = join(folder, 'steps.jsonl')
  await collect(await settings({ log, steps: 2 }))
  const written = await readFile(log, 'utf8')
  await expect(collect(await settings({ log, steps: 2 }))).rejects.toThrow('holds the steps of another run')
  expect(await readFile(log, 'utf8')).toBe(written)
})

test('with orStart the same call starts a run, begins anew one that was stopped before its first checkpoint, and goes on', async () => {
  const [log, run] = [join(folder, 'steps.jsonl'), join(folder, 'run')]
  const again = async (changes: Partial<TrainerOptions> = {}) =>
    settings({ checkpoint: { folder: run, every: 3 }, resume: { from: run, orStart: true }, log, ...changes })
  const whole = await collect(await settings())
  for await (const { step } of createTrainer(await again())) if (step === 2) break
  expect((await readFile(log, 'utf8')).trimEnd().split('\n')).toHaveLength(2)

  await expect(collect(await again({ resume: run }))).rejects.toThrow('resume with orStart')
  await expect(collect(await again({ resume: undefined }))).rejects.toThrow('with orStart where it was stopped before the first one')
  const first = await collect(await again(), 4)
  const rest = await collect(await again())
  expect(numbers([...first, ...rest])).toEqual(numbers(whole))
  const lines = (await readFile(log, 'utf8')).trimEnd().split('\n')
  expect(lines.map((line) => JSON.parse(line).step)).toEqual([1, 2, 3, 4, 5, 6])
  expect(await collect(await again())).toEqual([])

  // A slip in the folder's name: the run that is there keeps its log.
  await expect(collect(await again({ resume: { from: join(folder, 'rum'), orStart: true } }))).rejects.toThrow('already holds')
  expect((await readFile(log, 'utf8')).trimEnd().split('\n')).toEqual(lines)
  await expect(again({ checkpoint: undefined }).then(createTrainer)).rejects.toMatchObject({ setting: 'resume' })
})

test('with orStart a log that goes past the first checkpoint is of another run, and stays', async () => {
  const log = join(folder, 'steps.jsonl')
  await collect(await settings({ log }))
  const written = await readFile(log, 'utf8')
  const run = join(folder, 'run')
  const mistaken = await settings({ checkpoint: { folder: run, every: 3 }, resume: { from: run, orStart: true }, log })
  await expect(collect(mistaken)).rejects.toThrow('holds the steps of another run')
  expect(await readFile(log, 'utf8')).toBe(written)
})

test('a file is no place to resume from, with orStart neither', async () => {
  const file = join(folder, 'file')
  await writeFile(file, '')
  for (const resume of [file, { from: file, orStart: true }]) {
    const run = collect(await settings({ checkpoint: { folder: join(folder, 'run') }, resume }))
    await expect(run).rejects.toMatchObject({ code: 'invalid-file', message: expect.stringContaining('give the folder of a checkpoint') })
  }
})

test('each tensor of the optimizer is in its file before the next one is asked for', async () => {
  const options = await settings({ checkpoint: { folder, every: 6 } })
  const { memory } = options.model.backend
  const file = join(folder, '.step-00000006.tmp', 'optimizer.safetensors')
  const asked: { bytes: number; written: number }[] = []
  const download = memory.download.bind(memory)
  vi.spyOn(memory, 'download').mockImplementation((tensor) => {
    if (existsSync(file)) asked.push({ bytes: 4 * elementCount(tensor.shape), written: statSync(file).size })
    return download(tensor)
  })
  await collect(options)
  expect(asked).toHaveLength(2 * options.model.parameters.size)
  for (let index = 1; index < asked.length; index++) {
    expect(asked[index].written).toBe(asked[index - 1].written + asked[index - 1].bytes)
  }
})

test('a checkpoint past the last step is refused, one at the last step ends at once', async () => {
  await collect(await settings({ checkpoint: { folder, every: 3 } }), 3)
  await expect(collect(await settings({ resume: folder, steps: 2 }))).rejects.toMatchObject({ code: 'invalid-config', setting: 'steps' })
  expect(await collect(await settings({ resume: folder, steps: 3 }))).toEqual([])
})

async function readAll(path: string): Promise<Map<string, StoredTensor>> {
  const tensors = new Map<string, StoredTensor>()
  for await (const [name, tensor] of readSafetensors(path)) tensors.set(name, tensor)
  return tensors
}

test.each([
  ['model.safetensors', 'model.norm.weight', 'lacks model.norm.weight', undefined],
  ['model.safetensors', 'model.embed_tokens.weight', 'is [16,30]', (shape: readonly number[]) => [...shape].reverse()],
  ['optimizer.safetensors', 'model.norm.weight.mean', 'lacks model.norm.weight.mean', undefined],
  ['optimizer.safetensors', 'model.embed_tokens.weight.variance', 'is [16,30]', (shape: readonly number[]) => [...shape].reverse()],
] as const)('a wrong %s leaves the model whole: %s %s', async (file, name, message, reshape) => {
  await collect(await settings({ checkpoint: { folder, every: 3 } }), 3)
  const path = join(await findCheckpoint(folder), file)
  const tensors = await readAll(path)
  const tensor = tensors.get(name)!
  tensors.delete(name)
  if (reshape) tensors.set(name, { ...tensor, shape: reshape(tensor.shape) })
  await writeFile(path, serializeSafetensorsParts(tensors))
  await reseal(await findCheckpoint(folder))
  const [model, untouched] = [await tinyModel({ seed: 999 }), await tinyModel({ seed: 999 })]
  await expect(collect(await settings({ model, resume: folder }))).rejects.toThrow(message)
  for (const [parameter, value] of model.parameters) {
    const expected = await untouched.backend.memory.download(untouched.parameters.get(parameter)!)
    expect(await model.backend.memory.download(value)).toEqual(expected)
  }
})

test('an f32 model that resumes a bf16 run takes its f32 copies', async () => {
  await collect(await settings({ model: await tinyModel({ dtype: 'bf16' }), checkpoint: { folder, every: 3 } }), 3)
  const model = await tinyModel({ seed: 999 })
  await collect(await settings({ model, resume: folder, steps: 3 }))
  const path = await findCheckpoint(folder)
  const [stored, state] = [await readAll(join(path, 'model.safetensors')), await readAll(join(path, 'optimizer.safetensors'))]
  const name = 'model.embed_tokens.weight'
  expect(await model.backend.memory.download(model.parameters.get(name)!)).toEqual(state.get(`${name}.master`)!.data)
  expect(state.get(`${name}.master`)!.data).not.toEqual(stored.get(name)!.data)
})

test('a 16-bit checkpoint that lacks one of its f32 copies is damaged, and so is one without its optimizer', async () => {
  await collect(await settings({ model: await tinyModel({ dtype: 'bf16' }), checkpoint: { folder, every: 3 } }), 3)
  const path = join(await findCheckpoint(folder), 'optimizer.safetensors')
  const tensors = await readAll(path)
  tensors.delete('model.norm.weight.master')
  await writeFile(path, serializeSafetensorsParts(tensors))
  await reseal(await findCheckpoint(folder))
  for (const dtype of ['bf16', 'f32'] as const) {
    const resumed = await settings({ model: await tinyModel({ dtype }), resume: folder })
    await expect(collect(resumed)).rejects.toThrow('lacks model.norm.weight.master')
  }
  await rm(path)
  await expect(collect(await settings({ model: await tinyModel({ dtype: 'bf16' }), resume: folder }))).rejects.toThrow('cannot be read')
})
