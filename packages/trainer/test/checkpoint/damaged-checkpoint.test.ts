import { createHash } from 'node:crypto'
import { cp, mkdtemp, open, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { saveLambda } from '../../src/calibration/save-lambda.js'
import { requireWhole } from '../../src/checkpoint/manifest.js'
import type { StepEvent } from '../../src/step-event.js'
import { tinyModel, tinyPhsa } from '../tiny-model.js'
import { collect, numbers, tinyRun } from '../tiny-run.js'

const FILES = [
  'config.json',
  'model-00001-of-00005.safetensors',
  'model-00005-of-00005.safetensors',
  'model.safetensors.index.json',
  'optimizer-00003-of-00009.safetensors',
  'trainer.json',
]

let root: string
let original: string
let whole: StepEvent[]
/** A copy of a run with three checkpoints, to be damaged. */
let folder: string
let number = 0
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'phsa-damaged-'))
  original = join(root, 'original')
  whole = await collect(await tinyRun({ checkpoint: { folder: original, every: 2, keep: 3, maxShardBytes: 6000 } }))
})
beforeEach(async () => {
  folder = join(root, `copy-${number++}`)
  await cp(original, folder, { recursive: true })
})
afterAll(() => rm(root, { recursive: true, force: true }))

const checkpoint = (step: number) => join(folder, `step-0000000${step}`)

/** Changes one bit in the middle. */
async function flip(file: string): Promise<void> {
  const handle = await open(file, 'r+')
  const { size } = await handle.stat()
  const byte = new Uint8Array(1)
  await handle.read(byte, 0, 1, size >> 1)
  byte[0] ^= 4
  await handle.write(byte, 0, 1, size >> 1)
  await handle.close()
}

test('a checkpoint lists all its files with size and sha256', async () => {
  const names = (await readdir(checkpoint(6))).sort()
  expect(FILES.filter((name) => !names.includes(name))).toEqual([])
  const { files } = JSON.parse(await readFile(join(checkpoint(6), 'manifest.json'), 'utf8'))
  const found = names.filter((name) => name !== 'manifest.json')
  expect(Object.keys(files)).toEqual(found)
  for (const name of found) {
    const bytes = await readFile(join(checkpoint(6), name))
    expect(files[name]).toEqual({ bytes: bytes.length, sha256: createHash('sha256').update(bytes).digest('hex') })
  }
})

test.each(FILES)('one flipped bit in %s is found before anything is written, and older whole ones are named', async (name) => {
  await flip(join(checkpoint(6), name))
  const model = await tinyModel({ seed: 999 })
  const before = await parameters(model)
  const error: Error = await collect(await tinyRun({ model, resume: folder })).catch((error) => error)
  expect(error).toMatchObject({ name: 'DamagedCheckpointError', code: 'invalid-file', checkpoint: checkpoint(6) })
  expect(error.message).toContain(`${join(checkpoint(6), name)} is damaged: its sha256 is`)
  expect(error.message).toContain(`Older checkpoints that are whole: ${checkpoint(4)}, ${checkpoint(2)}.`)
  expect(await parameters(model)).toEqual(before)
})

test.each([
  ['a file that is gone', 'optimizer-00001-of-00009.safetensors', undefined, 'cannot be read'],
  ['a short file', 'model-00002-of-00005.safetensors', 'short', 'is damaged: it has 5 bytes'],
  ['no manifest', 'manifest.json', undefined, 'manifest.json is no list'],
  ['half a manifest', 'manifest.json', '{"version":1,', 'manifest.json is no list'],
  ['a manifest of a later version', 'manifest.json', '{"version":2}', 'its version is 2'],
  ['a path in a manifest', 'manifest.json', '{"version":1,"files":{"../x":{"bytes":1,"sha256":""}}}', 'the entry "../x"'],
  ['no record', 'trainer.json', undefined, 'trainer.json cannot be read'],
])('%s is damage', async (_, name, content, message) => {
  const file = join(checkpoint(6), name)
  if (content === undefined) await rm(file)
  else await writeFile(file, content)
  await expect(collect(await tinyRun({ resume: folder }))).rejects.toThrow(message)
  await expect(collect(await tinyRun({ resume: checkpoint(6) }))).rejects.toThrow(message)
})

test('with orOlder a run goes on from the newest whole one, says so once, and keeps what is damaged', async () => {
  const damaged = ['model-00001-of-00005.safetensors', 'trainer.json'].map((name, index) => join(checkpoint(6 - 2 * index), name))
  for (const file of damaged) await flip(file)
  const log = join(folder, 'steps.jsonl')
  await writeFile(log, whole.map((event) => `${JSON.stringify(event)}\n`).join(''))
  const resumed = await tinyRun({ checkpoint: { folder, every: 2, keep: 9 }, resume: { from: folder, orOlder: true }, log })
  const events = await collect(resumed)
  expect(events.map(({ step }) => step)).toEqual([3, 4, 5, 6])
  const [{ passedOver, ...first }, ...rest] = events
  expect(numbers([first, ...rest])).toEqual(numbers(whole.slice(2)))
  expect(rest.some((event) => 'passedOver' in event)).toBe(false)
  expect(passedOver).toEqual([
    expect.stringContaining(`${damaged[0]} is damaged`),
    expect.stringContaining(`${damaged[1]} is damaged`),
    `${checkpoint(4)} is damaged and was renamed to damaged-step-00000004.`,
    `${checkpoint(6)} is damaged and was renamed to damaged-step-00000006.`,
  ])
  const steps = (await readdir(folder)).filter((name) => name.includes('step-')).sort()
  expect(steps).toEqual(['damaged-step-00000004', 'damaged-step-00000006', 'step-00000002', 'step-00000004', 'step-00000006'])
  const lines = (await readFile(log, 'utf8')).trimEnd().split('\n')
  expect(lines.map((line) => JSON.parse(line).step)).toEqual([1, 2, 3, 4, 5, 6])
  expect(JSON.parse(lines[2]).passedOver).toEqual(passedOver)
})

test('the older one that an error names continues', async () => {
  await flip(join(checkpoint(6), 'trainer.json'))
  const events = await collect(await tinyRun({ checkpoint: { folder, every: 2 }, resume: checkpoint(4) }))
  expect(events[0].passedOver).toEqual([`${checkpoint(6)} is damaged and was renamed to damaged-step-00000006.`])
  const [{ passedOver: _, ...first }, ...rest] = events
  expect(numbers([first, ...rest])).toEqual(numbers(whole.slice(4)))
})

test('a whole later checkpoint is not written over, and a damaged one not by another run', async () => {
  const later = await tinyRun({ checkpoint: { folder, every: 2 }, resume: checkpoint(4) })
  await expect(collect(later)).rejects.toThrow('already holds step-00000006')
  for (const step of [2, 4, 6]) await flip(join(checkpoint(step), 'trainer.json'))
  await expect(collect(await tinyRun({ checkpoint: { folder, every: 2 } }))).rejects.toThrow('already holds step-00000002')
  expect((await readdir(folder)).length).toBe(3)
})

test('calibration does not write into a checkpoint, which would damage it', async () => {
  await expect(saveLambda(checkpoint(6), tinyPhsa, [[0.5], [0.5]])).rejects.toThrow('is a checkpoint of a training run')
  await requireWhole(checkpoint(6))
})

test('where none is whole nothing is taken, and nothing is started anew', async () => {
  for (const step of [2, 4, 6]) await flip(join(checkpoint(step), 'config.json'))
  const resume = { from: folder, orOlder: true, orStart: true }
  await expect(collect(await tinyRun({ checkpoint: { folder }, resume }))).rejects.toThrow('No older checkpoint beside it is whole')
})

async function parameters({ backend, parameters }: Awaited<ReturnType<typeof tinyModel>>) {
  const values = new Map<string, unknown>()
  for (const [name, tensor] of parameters) values.set(name, await backend.memory.download(tensor))
  return values
}
