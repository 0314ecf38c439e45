import { type ModelBackend, phsaPolicy, ReferenceBackend } from '@phsa/core'
import { DecoderModel } from '@phsa/model'
import { trainingBatch } from '@phsa/trainer'
import { expect, test } from 'vitest'
import { evaluated } from '../src/bench/evaluated.js'
import { absentAttention, timedAttention, withAttention } from '../src/bench/replaced-attention.js'
import { TINY_MODEL } from './tiny-model.js'

const { config: CONFIG, phsa: PHSA } = TINY_MODEL

async function losses(backend: ModelBackend) {
  const model = DecoderModel.create({ config: CONFIG, backend, phsa: PHSA, seed: 1 })
  const batch = trainingBatch([{ sequences: [Int32Array.from({ length: 64 }, (_, index) => (index * 7) % 32)] }])
  try {
    return await evaluated(backend, () => {
      const gradients = model.allocGradients()
      const distillation = { coefficient: 1, rows: Int32Array.of(40, 60) }
      const { loss } = model.lossAndGradients(batch, { policy: phsaPolicy, phsa: PHSA }, gradients, distillation)
      return { loss, gradient: gradients.get('model.embed_tokens.weight')! }
    })
  } finally {
    model.dispose()
  }
}

test('a stopwatch changes no result and counts each stretch once', async () => {
  const backend = new ReferenceBackend()
  const plain = await losses(backend)
  const stopwatch = timedAttention(backend.attention)
  expect(await losses(withAttention(backend, stopwatch.attention))).toEqual(plain)
  expect(stopwatch.take()).toBeGreaterThan(0)
  expect(stopwatch.take()).toBe(0)
})

test('a step without attention does all the rest, leaks nothing and gives other, finite numbers', async () => {
  const backend = new ReferenceBackend()
  const before = backend.memory.usage()
  const { loss, gradient } = await losses(withAttention(backend, absentAttention(backend.memory)))
  expect(loss[0]).toBeGreaterThan(0)
  expect(gradient.every(Number.isFinite)).toBe(true)
  expect(loss[0]).not.toBe((await losses(backend)).loss[0])
  expect(backend.memory.usage()).toEqual(before)
})
