import { type DType, SparsitySchedule } from '@phsa/core'
import { expect, test } from 'vitest'
import { createTrainer } from '../../src/create-trainer.js'
import type { StepEvent } from '../../src/step-event.js'
import { letterData, letterPunctuation, tinyModel } from '../tiny-model.js'

const TEXT = 'when the moon is full, the sea is high. when the moon is new, the sea is low.'
const NAME = 'model.layers.1.mlp.down_proj.weight'

/** A run whose steps are far below the spacing of bf16 numbers, and the weights before and after it. */
async function run(dtype: DType, steps: number) {
  const model = await tinyModel({ dtype })
  const download = () => model.backend.memory.download(model.parameters.get(NAME)!)
  const before = await download()
  const events: StepEvent[] = []
  const trainer = createTrainer({
    model,
    data: await letterData(TEXT),
    punctuation: letterPunctuation,
    batch: { sequences: 1, tokens: TEXT.length + 1, accumulate: 2 },
    steps,
    schedule: new SparsitySchedule([{ kind: 'sparse', share: 1, topK: 2, distillation: true }]),
    // Half the spacing of bf16 at the size of these weights is about 3e-5.
    optimizer: { learningRate: 2e-6, decay: 'none', warmupSteps: 0, weightDecay: 0 },
  })
  for await (const event of trainer) events.push(event)
  return { events, before, after: await download() }
}

/** Part of the values that changed. */
function changed(before: ArrayLike<number>, after: ArrayLike<number>): number {
  return Array.from(before).filter((value, index) => value !== after[index]).length / before.length
}

test('steps that bf16 would round away add up in the f32 copies', async () => {
  const [one, many] = [await run('bf16', 1), await run('bf16', 24)]
  expect(changed(one.before, one.after)).toBeLessThan(0.2)
  expect(changed(many.before, many.after)).toBeGreaterThan(0.6)
})

test('a bf16 run has the losses of the f32 one, up to its precision', async () => {
  const [narrow, wide] = [await run('bf16', 3), await run('f32', 3)]
  for (const [index, { loss, distillationLoss, skipped }] of narrow.events.entries()) {
    expect(skipped).toBe(false)
    expect(Math.abs(loss / wide.events[index].loss - 1)).toBeLessThan(0.01)
    expect(Math.abs(distillationLoss! / wide.events[index].distillationLoss! - 1)).toBeLessThan(0.02)
  }
})
