import { reference } from '@phsa/core'
import { expect, test } from 'vitest'
import { createModel, DecoderModel } from '../src/index.js'
import { tinyConfig } from './tiny-model.js'

test('a model that is made in turns is the one that is made at once', async () => {
  const backend = await reference()
  const options = { config: tinyConfig, backend, seed: 3 }
  const [inTurns, atOnce] = [await createModel(options), DecoderModel.create(options)]
  expect([...inTurns.parameters.keys()]).toEqual([...atOnce.parameters.keys()])
  for (const [name, tensor] of atOnce.parameters) {
    expect(await backend.memory.download(inTurns.parameters.get(name)!), name).toEqual(await backend.memory.download(tensor))
  }
  for (const model of [inTurns, atOnce]) model.dispose()
  expect(backend.memory.usage().tensors).toBe(0)
})

test('a signal ends it, and nothing is left', async () => {
  const backend = await reference()
  const stop = new AbortController()
  const making = createModel({ config: tinyConfig, backend, seed: 3, signal: stop.signal })
  stop.abort(new Error('enough'))
  await expect(making).rejects.toThrow('enough')
  expect(backend.memory.usage().tensors).toBe(0)
})
