import { type DType, type HostArray, type ModelBackend, RandomStream, reference } from '@phsa/core'
import type { DecoderModel } from '@phsa/model'
import { expect, test } from 'vitest'
import { Optimizer } from '../../src/optimizer.js'
import { testedBackends } from '../backends.js'
import { tinyModel } from '../tiny-model.js'

const SETTINGS = { beta1: 0.9, beta2: 0.95, epsilon: 1e-8, weightDecay: 0, maxNorm: 1 }

/** One AdamW step on gradients drawn from `seed`, or on one that is no number; the parameters after it. */
async function step({ backend }: DecoderModel, optimizer: Optimizer, count: number, isDamaged = false): Promise<void> {
  const { memory } = backend
  const random = new RandomStream(count)
  for (const gradient of optimizer.gradients.values()) {
    const values = (await memory.download(gradient)).map(() => random.normal()) as HostArray
    if (isDamaged) values[0] = Number.NaN
    memory.write(gradient, values)
  }
  optimizer.schedule(0.05, count)
  const loss = memory.upload(Float32Array.of(1), [1])
  memory.scope(() => optimizer.apply([loss])).dispose()
  loss.dispose()
}

const NAME = 'model.layers.1.mlp.down_proj.weight'

/** The parameter at its finest, and its average. */
async function values({ backend, parameters }: DecoderModel, { state }: Optimizer): Promise<{ parameter: HostArray; average: HostArray }> {
  const parameter = state.get(`${NAME}.master`) ?? parameters.get(NAME)!
  return { parameter: await backend.memory.download(parameter), average: await backend.memory.download(state.get(`${NAME}.average`)!) }
}

test.each([
  { dtype: 'f32', ...testedBackends[0] },
  { dtype: 'bf16', ...testedBackends[0] },
  { dtype: 'f64', ...testedBackends[0] },
  { dtype: 'f32', ...testedBackends[1] },
] as const)('is the moving average of the finest weights, $dtype on $name', async ({ dtype, create }) => {
  const backend = await create()
  const model = await tinyModel({ backend, dtype: dtype as DType })
  const optimizer = new Optimizer(model, SETTINGS, { averageDecay: 0.75 })
  const start = await values(model, optimizer)
  expect(start.average).toEqual(start.parameter)
  let expected = Array.from(start.average)
  for (let count = 1; count <= 3; count++) {
    await step(model, optimizer, count)
    const { parameter, average } = await values(model, optimizer)
    expected = expected.map((old, index) => 0.75 * old + 0.25 * parameter[index])
    for (const [index, value] of average.entries()) expect(value).toBeCloseTo(expected[index], 6)
  }
  const before = await values(model, optimizer)
  await step(model, optimizer, 4, true)
  expect(await values(model, optimizer)).toEqual(before)
  optimizer.dispose()
  backend.dispose()
})

test('weights that stay are their own average, whatever the decay', async () => {
  const model = await tinyModel()
  const { memory } = model.backend
  const optimizer = new Optimizer(model, SETTINGS, { averageDecay: 0.9999 })
  const { average: start } = await values(model, optimizer)
  const norm = memory.upload(Float32Array.of(1, 1), [2])
  for (let update = 0; update < 20; update++) memory.scope(() => optimizer.average!.update(norm))
  const { average } = await values(model, optimizer)
  for (const [index, value] of average.entries()) expect(Math.abs(value / start[index] - 1)).toBeLessThan(1e-6)
})

test.each<DType>(['f32', 'bf16'])('its model computes with the averaged weights and leaves them alone when it goes, %s', async (dtype) => {
  const backend: ModelBackend = await reference()
  const model = await tinyModel({ backend, dtype })
  const optimizer = new Optimizer(model, SETTINGS, { averageDecay: 0.5 })
  await step(model, optimizer, 1)
  const before = backend.memory.usage()
  const averaged = optimizer.average!.model()
  const held = await backend.memory.download(averaged.parameters.get(NAME)!)
  const { average, parameter } = await values(model, optimizer)
  for (const [index, value] of held.entries()) expect(Math.abs(value - average[index])).toBeLessThan(dtype === 'f32' ? 1e-9 : 4e-3)
  expect(held).not.toEqual(parameter)
  expect(averaged.phsa).toEqual(model.phsa)
  averaged.dispose()
  expect(backend.memory.usage()).toEqual(before)
  expect((await values(model, optimizer)).average).toEqual(average)
})

test('everything is freed, and an update leaves nothing behind', async () => {
  const model = await tinyModel()
  const { memory } = model.backend
  const before = memory.usage()
  const optimizer = new Optimizer(model, SETTINGS, { averageDecay: 0.5 })
  const during = memory.usage()
  await step(model, optimizer, 1)
  expect(memory.usage()).toEqual(during)
  optimizer.dispose()
  expect(memory.usage()).toEqual(before)
})
