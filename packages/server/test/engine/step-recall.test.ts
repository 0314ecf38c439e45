import { expect, test } from 'vitest'
import { answerOf, randomIds, requestOf, withEngine } from './tiny-engine.js'

const prompt = randomIds(90, 3)
const request = requestOf({ prompt, maxTokens: 12 })

test('the recall of decoding steps is measured, and changes nothing of the texts', async () => {
  let plain: number[] = []
  await withEngine({}, async (engine) => {
    plain = (await answerOf(engine, request)).ids
    expect(await engine.stats()).toMatchObject({ recallSamples: 0, recallSum: 0 })
  })
  await withEngine({ recallEvery: 1, maxTopK: 20 }, async (engine) => {
    expect((await answerOf(engine, request)).ids).toEqual(plain)
    const { recallSamples, recallSum } = await engine.stats()
    // The first token comes with the prompt.
    expect(recallSamples).toBe(11)
    const sparse = recallSum / recallSamples
    expect(sparse).toBeGreaterThan(0)
    expect(sparse).toBeLessThan(1)
    await answerOf(engine, { ...request, attention: { topK: 8 } })
    const more = await engine.stats()
    expect(more.recallSamples).toBe(22)
    expect((more.recallSum - recallSum) / 11).toBeGreaterThan(sparse)
  })
})

test('steps that see everything, dense ones and those between are not measured', async () => {
  await withEngine({ recallEvery: 4 }, async (engine) => {
    await answerOf(engine, { ...request, attention: 'dense' })
    await answerOf(engine, requestOf({ maxTokens: 8 }))
    expect((await engine.stats()).recallSamples).toBe(0)
    await answerOf(engine, request)
    expect((await engine.stats()).recallSamples).toBeLessThan(4)
    expect((await engine.stats()).recallSamples).toBeGreaterThan(1)
  })
})
