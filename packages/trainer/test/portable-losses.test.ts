import { SparsitySchedule } from '@phsa/core'
import { expect, test } from 'vitest'
import { createTrainer } from '../src/create-trainer.js'
import { type TestedBackend, testedBackends } from './backends.js'
import { letterData, letterPunctuation, tinyModel } from './tiny-model.js'

const TEXT = 'a fox saw grapes, ripe and high. it leapt, it missed. they are sour, said the fox, and left. '.repeat(6)

/** Loss and distillation loss of fifty steps, dense first and then sparse. */
async function losses({ create }: TestedBackend): Promise<number[]> {
  const backend = await create()
  const model = await tinyModel({ backend })
  const found: number[] = []
  const trainer = createTrainer({
    model,
    data: await letterData(TEXT),
    punctuation: letterPunctuation,
    batch: { sequences: 1, tokens: 48 },
    steps: 50,
    optimizer: { learningRate: 0.01 },
    schedule: new SparsitySchedule([
      { kind: 'dense', share: 0.4 },
      { kind: 'sparse', share: 0.6, topK: 2, distillation: true },
    ]),
    distillation: { rowsPerSequence: 16 },
  })
  for await (const { loss, distillationLoss = 0 } of trainer) found.push(loss, distillationLoss)
  model.dispose()
  backend.dispose()
  return found
}

// The same on a larger model, of any backends: benchmarks/compare-losses.ts.
test('the losses of fifty steps are the same on every backend, within 0.001', async () => {
  const [expected, ...others] = await Promise.all(testedBackends.map(losses))
  expect(expected.at(-2)).toBeLessThan(expected[0] * 0.7)
  for (const found of others) {
    expect(found).toHaveLength(expected.length)
    for (const [index, loss] of found.entries()) expect(Math.abs(loss - expected[index])).toBeLessThan(1e-3)
  }
})
