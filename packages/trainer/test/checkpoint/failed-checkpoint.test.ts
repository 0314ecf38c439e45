import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { BackendLostError, OutOfMemoryError, reference, type Tensor } from '@phsa/core'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { requireWhole } from '../../src/checkpoint/manifest.js'
import { createTrainer } from '../../src/create-trainer.js'
import { tinyModel } from '../tiny-model.js'
import { collect, numbers, tinyRun } from '../tiny-run.js'

let folder: string
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'phsa-failed-'))
})
afterEach(() => rm(folder, { recursive: true, force: true }))

/** A model whose backend fails at a download of a tensor of this shape, from the given one on. */
async function failing(count: number, error: Error, isMeant: (tensor: Tensor) => boolean) {
  const model = await tinyModel({ backend: await reference() })
  const { memory } = model.backend
  const download = memory.download.bind(memory)
  let left = count
  memory.download = async (tensor: Tensor) => {
    if (isMeant(tensor) && --left < 0) throw error
    return download(tensor)
  }
  return model
}

const isMatrix = ({ shape }: Tensor) => shape.length === 2
const isNorm = ({ shape }: Tensor) => shape.length === 1 && shape[0] <= 2

test.each([
  ['while it writes a checkpoint', isMatrix, 70],
  ['while it trains', isNorm, 7],
])('a device that is lost %s leaves the earlier checkpoint, and the error says so', async (_, isMeant, count) => {
  const whole = await collect(await tinyRun())
  const model = await failing(count, new BackendLostError('the GPU fell off the bus.'), isMeant)
  const events: typeof whole = []
  const run = async () => {
    for await (const event of createTrainer(await tinyRun({ model, checkpoint: { folder, every: 2 } }))) events.push(event)
  }
  const error: Error = await run().then(
    () => new Error('it did not fail'),
    (error) => error,
  )
  expect(error).toMatchObject({ name: 'BackendLostError', code: 'backend-lost' })
  expect(error.message).toMatch(/^the GPU fell off the bus\. Checkpoints are whole; resume from .*step-0000000\d to go on after step \d\.$/)
  const path = /resume from (\S+) /.exec(error.message)![1]
  await requireWhole(path)
  expect((await readdir(folder)).every((name) => name.startsWith('step-'))).toBe(true)
  const rest = await collect(await tinyRun({ resume: path }))
  expect(rest.length).toBeGreaterThan(0)
  expect(numbers(rest)).toEqual(numbers(whole.slice(-rest.length)))
})

test('memory that runs out before the first checkpoint says that there is none', async () => {
  const model = await failing(1, new OutOfMemoryError('there is no room for 3 GiB.'), isNorm)
  await expect(collect(await tinyRun({ model, checkpoint: { folder } }))).rejects.toMatchObject({
    code: 'out-of-memory',
    message: 'there is no room for 3 GiB. No checkpoint was written yet: start again, with a smaller checkpoint.every.',
  })
  const same = await failing(1, new OutOfMemoryError('there is no room for 3 GiB.'), isNorm)
  await expect(collect(await tinyRun({ model: same }))).rejects.toThrow(/^there is no room for 3 GiB\.$/)
})
