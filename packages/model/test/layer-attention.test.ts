import { reference } from '@phsa/core'
import { expect, test } from 'vitest'
import { tokenBatch } from '../src/index.js'
import { randomIds, relativeError, tinyConfig, tinyModel } from './tiny-model.js'

test('layer by layer comes what comes at once, and nothing stays, also after a walk that is left early', async () => {
  const backend = await reference()
  const { memory } = backend
  const model = await tinyModel(backend)
  const batch = tokenBatch([randomIds(30, 2), randomIds(25, 3)])
  const before = memory.usage()
  const atOnce = memory.scope(() => model.attentionInputs(batch).map(({ q, k, selected }) => ({ q, k, selected })))
  const held = memory.usage()
  let layer = 0
  for (const { q, k, selected } of model.attentionLayers(batch)) {
    const whole = atOnce[layer++]
    for (const [one, other] of [
      [q, whole.q],
      [k, whole.k],
      [selected!, whole.selected!],
    ]) {
      expect(await memory.download(one)).toEqual(await memory.download(other))
    }
  }
  expect(layer).toBe(tinyConfig.layers)
  for (const _ of model.attentionLayers(batch)) break
  expect(memory.usage()).toEqual(held)
  for (const tensors of atOnce) for (const tensor of Object.values(tensors)) tensor?.dispose()
  expect(memory.usage()).toEqual(before)
})

test('losses of targets are those of the logits, also for several targets of a row', async () => {
  const backend = await reference()
  const { memory } = backend
  const model = await tinyModel(backend)
  const batch = tokenBatch([randomIds(30, 2)])
  const before = memory.usage()
  const [rows, targets] = [Int32Array.of(4, 4, 29), Int32Array.of(1, 2, 28)]
  const losses = model.targetLosses(batch, { rows, targets })
  const logits = model.logits(batch, undefined, rows)
  const [given, values] = [await memory.download(losses), await memory.download(logits)]
  const expected = Array.from(targets, (target, index) => {
    const row = Array.from(values.slice(index * tinyConfig.vocabSize, (index + 1) * tinyConfig.vocabSize))
    return Math.log(row.reduce((sum, value) => sum + Math.exp(value), 0)) - row[target]
  })
  expect(relativeError(given, expected)).toBeLessThan(1e-5)
  for (const tensor of [losses, logits]) tensor.dispose()
  expect(memory.usage()).toEqual(before)
  expect(() => model.targetLosses(batch, { rows: Int32Array.of(30), targets: Int32Array.of(0) })).toThrow('rows 0 to 29')
  expect(() => model.targetLosses(batch, { rows: Int32Array.of(3), targets: Int32Array.of(29) })).toThrow('targets[0] is 29')
})
