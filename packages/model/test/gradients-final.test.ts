import { type HostArray, phsaPolicy, reference } from '@phsa/core'
import { expect, test } from 'vitest'
import { nextTokenBatch, parameterShapes } from '../src/index.js'
import { punctuationOf, randomIds, sparsePhsa, tinyConfig, tinyModel } from './tiny-model.js'

test.each([true, false])('gradients are said to be final once, when they are: tied head %s', async (tieWordEmbeddings) => {
  const backend = await reference()
  const config = { ...tinyConfig, tieWordEmbeddings }
  const model = await tinyModel(backend, { config })
  const batch = nextTokenBatch([randomIds(37, 3), randomIds(5, 4)])
  const attention = { policy: phsaPolicy, phsa: sparsePhsa }
  const gradients = model.allocGradients()
  const said: string[] = []
  const early = new Map<string, Promise<HostArray>>()
  backend.memory.scope(() =>
    model.lossAndGradients({ ...batch, punctuation: punctuationOf(batch.ids) }, attention, gradients, undefined, (names) => {
      said.push(...names)
      for (const name of names) early.set(name, backend.memory.download(gradients.get(name)!))
    }),
  )
  expect([...said].sort()).toEqual([...parameterShapes(config).keys()].sort())
  const layers = said.flatMap((name) => /layers\.(\d+)\.input_layernorm/.exec(name)?.[1] ?? []).map(Number)
  expect(layers).toEqual(Array.from({ length: config.layers }, (_, index) => config.layers - 1 - index))
  expect(said[0]).toBe(tieWordEmbeddings ? 'model.norm.weight' : 'lm_head.weight')
  expect(said.at(-1)).toBe('model.embed_tokens.weight')
  for (const [name, gradient] of gradients) {
    const final = await backend.memory.download(gradient)
    expect(await early.get(name), name).toEqual(final)
    expect(
      final.some((value) => value !== 0),
      name,
    ).toBe(true)
  }
  backend.dispose()
})
