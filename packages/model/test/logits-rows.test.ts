import { expect, test } from 'vitest'
import { tokenBatch } from '../src/index.js'
import { testedBackends } from './backends.js'
import { randomIds, relativeError, tinyConfig, tinyModel } from './tiny-model.js'

test.each(testedBackends)('logits of some rows are those of the whole batch, in the order asked for, on $name', async ({ create }) => {
  const backend = await create()
  const model = await tinyModel(backend)
  const batch = tokenBatch([randomIds(30, 2), randomIds(25, 3)])
  const before = backend.memory.usage()
  const [whole, some] = [model.logits(batch), model.logits(batch, undefined, Int32Array.of(54, 0, 29))]
  expect(some.shape).toEqual([3, tinyConfig.vocabSize])
  const [all, chosen] = [await backend.memory.download(whole), await backend.memory.download(some)]
  const rowOf = (values: typeof all, row: number) => values.slice(row * tinyConfig.vocabSize, (row + 1) * tinyConfig.vocabSize)
  for (const [place, row] of [54, 0, 29].entries()) expect(relativeError(rowOf(chosen, place), rowOf(all, row))).toBeLessThan(1e-6)
  whole.dispose()
  some.dispose()
  expect(backend.memory.usage()).toEqual(before)
  for (const row of [-1, 55])
    expect(() => model.logits(batch, undefined, Int32Array.of(row))).toThrow(`rows has ${row}; this batch has rows 0 to 54`)
  backend.dispose()
})
