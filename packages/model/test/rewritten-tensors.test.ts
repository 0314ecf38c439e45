import { phsaPolicy, reference } from '@phsa/core'
import { expect, test } from 'vitest'
import { nextTokenBatch, RewrittenTensors } from '../src/index.js'
import { randomIds, sparsePhsa, tinyConfig, tinyModel } from './tiny-model.js'

test('later passes write over the tensors of the first', async () => {
  const backend = await reference()
  const { memory } = backend
  const uploads = new RewrittenTensors(memory)
  const pass = (ids: number[], weight: number) => [
    uploads.upload(Int32Array.from(ids), [ids.length]),
    uploads.upload(Float32Array.of(weight), [1]),
  ]
  const first = pass([1, 2], 3)
  uploads.rewind()
  const second = pass([4, 5], 6)
  expect(second).toEqual(first)
  expect(await Promise.all(second.map((tensor) => memory.download(tensor)))).toEqual([Int32Array.of(4, 5), Float32Array.of(6)])
  uploads.rewind()
  expect(() => pass([1, 2, 3], 4)).toThrow(expect.objectContaining({ code: 'shape' }))
  uploads.dispose()
  expect(memory.usage().tensors).toBe(0)
  expect(await memory.download(pass([7], 8)[1])).toEqual(Float32Array.of(8))
  backend.dispose()
})

test('a training step reads what the last batch wrote, and nothing else from the host', async () => {
  const backend = await reference()
  const { memory } = backend
  const model = await tinyModel(backend)
  const gradients = model.allocGradients()
  const choice = { policy: phsaPolicy, phsa: sparsePhsa }
  const uploads = new RewrittenTensors(memory)
  const distillation = { coefficient: 0.5, rows: Int32Array.of(20, 30, 50) }
  for (const seed of [1, 2]) {
    const batch = nextTokenBatch([randomIds(51, seed)])
    uploads.rewind()
    const tensors = model.uploadTraining(batch, choice, distillation, uploads)
    const [rewritten, plain] = memory.scope(() => [
      model.train(tensors, gradients),
      model.lossAndGradients(batch, choice, gradients, distillation),
    ])
    expect(await memory.download(rewritten.loss)).toEqual(await memory.download(plain.loss))
    expect(await memory.download(rewritten.distillationLoss!)).toEqual(await memory.download(plain.distillationLoss!))
  }
  backend.dispose()
})

test('a rotary table that was outgrown lives as long as the model, for steps that were recorded with it', async () => {
  const backend = await reference()
  const model = await tinyModel(backend, { config: { ...tinyConfig, maxPositions: 6000 } })
  const before = model.ropeFor(0)
  model.reservePositions(5000)
  expect(model.ropeFor(0)).not.toBe(before)
  expect((await backend.memory.download(before.cos)).length).toBeGreaterThan(0)
  model.dispose()
  await expect(backend.memory.download(before.cos)).rejects.toMatchObject({ code: 'disposed' })
  backend.dispose()
})
