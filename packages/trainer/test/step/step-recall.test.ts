import { activatedTokens, phsaConfig, SparsitySchedule } from '@phsa/core'
import { expect, test } from 'vitest'
import { createTrainer } from '../../src/create-trainer.js'
import type { StepEvent } from '../../src/step-event.js'
import type { TrainerOptions } from '../../src/trainer-options.js'
import { letterData, letterPunctuation, tinyModel, tinyPhsa } from '../tiny-model.js'

const TEXT = 'when the moon is full, the sea is high. when the moon is new, the sea is low. the fisher knows the moon.'

async function run(options: Partial<TrainerOptions> = {}, denseLayers: number[] = []): Promise<StepEvent[]> {
  const model = await tinyModel({ phsa: phsaConfig({ denseLayers }, tinyPhsa) })
  const events: StepEvent[] = []
  const settings: TrainerOptions = {
    model,
    data: await letterData(TEXT),
    punctuation: letterPunctuation,
    batch: { sequences: 2, tokens: 64 },
    steps: 5,
    schedule: new SparsitySchedule([
      { kind: 'dense', share: 0.4 },
      { kind: 'sparse', share: 0.6, topK: 1, distillation: true },
    ]),
    ...options,
  } as TrainerOptions
  for await (const event of createTrainer(settings)) events.push({ ...event, tokensPerSecond: 0 })
  return events
}

test.each(['phsa', 'random'])(
  'measures every so many steps and the last, and the run is bit for bit the one without, %s',
  async (policy) => {
    const measured = await run({ policy, recall: { every: 2, rows: 8 } })
    expect(measured.flatMap(({ step, recall }) => (recall ? [step] : []))).toEqual([2, 4, 5])
    expect(measured.map(({ recall: _, ...event }) => event)).toEqual(await run({ policy }))
    for (const { recall, topK } of measured) {
      if (!recall) continue
      expect(recall.topK).toBe(topK === 'dense' ? tinyPhsa.topK : topK)
      expect(recall.queries).toBe(8)
      expect(recall.layers).toHaveLength(2)
      expect(recall.mean).toBeCloseTo((recall.layers[0] + recall.layers[1]) / 2, 12)
      for (const each of recall.layers) expect(each > 0 && each < 1).toBe(true)
    }
  },
)

test('the oracle finds no less than any other policy, and a dense layer all', async () => {
  const last = async (policy: string) => (await run({ policy, steps: 1, recall: { every: 1, rows: 64 } }, [1]))[0].recall!
  const oracle = await last('oracle')
  expect(oracle.layers[1]).toBeCloseTo(1, 5)
  for (const policy of ['phsa', 'random']) expect((await last(policy)).layers[0]).toBeLessThan(oracle.layers[0])
})

test('where no position lies past A there is nothing to measure', async () => {
  const short = 'a fox.\n\n\na cat.\n\n\nan owl.'
  const [event] = await run({
    data: await letterData(short),
    batch: { sequences: 1, tokens: activatedTokens(tinyPhsa) - 4 },
    steps: 1,
    recall: { every: 1 },
  })
  expect(event).not.toHaveProperty('recall')
})

test('refuses what cannot be counted', async () => {
  await expect(run({ recall: { every: 0 } })).rejects.toThrow('recall.every is 0')
  await expect(run({ recall: { every: 1, rows: 0 } })).rejects.toThrow('recall.rows is 0')
})
