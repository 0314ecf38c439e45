import { phsaPolicy } from '@phsa/core'
import { type DecoderModel, tokenBatch } from '@phsa/model'
import { expect, test } from 'vitest'
import type { EngineEvent, EngineRequest, TokenLogprob } from '../../src/index.js'
import { answerOf, greedy, punctuation, randomIds, requestOf, sparsePhsa, tinyConfig, withEngine } from './tiny-engine.js'

/** Logits after each of these tokens, by the whole forward pass. */
async function logitsOf(model: DecoderModel, ids: readonly number[]): Promise<number[][]> {
  const batch = tokenBatch([Int32Array.from(ids)], punctuation)
  const tensor = model.logits(batch, { policy: phsaPolicy, phsa: sparsePhsa })
  const values = Array.from(await model.backend.memory.download(tensor))
  tensor.dispose()
  return ids.map((_, row) => values.slice(row * tinyConfig.vocabSize, (row + 1) * tinyConfig.vocabSize))
}

/** By definition. */
function naive(logits: readonly number[], id: number, top: number): TokenLogprob {
  const total = Math.log(logits.reduce((sum, logit) => sum + Math.exp(logit), 0))
  const order = logits.map((_, other) => other).sort((a, b) => logits[b] - logits[a])
  return { logprob: logits[id] - total, top: order.slice(0, top).map((other) => [other, logits[other] - total]) }
}

function expectClose(actual: TokenLogprob | null | undefined, expected: TokenLogprob): void {
  expect(actual?.logprob).toBeCloseTo(expected.logprob, 4)
  expect(actual?.top.map(([id]) => id)).toEqual(expected.top.map(([id]) => id))
  for (const [index, [, logprob]] of expected.top.entries()) expect(actual?.top[index][1]).toBeCloseTo(logprob, 4)
}

const tokens = (events: readonly EngineEvent[]) => events.flatMap((event) => (event.type === 'token' ? [event] : []))

test('log-probabilities are those of the whole forward pass, of the model before anything is changed', () =>
  withEngine({ stepTokens: 16 }, async (engine, model) => {
    const prompt = randomIds(21, 7)
    const sampling = { ...greedy, temperature: 1.5, seed: 3, logitBias: [[4, 3]] as const }
    const { ids, events } = await answerOf(engine, requestOf({ prompt, sampling, logprobs: 3 }))
    const logits = await logitsOf(model, [...prompt, ...ids])
    for (const [index, { id, logprob, top }] of tokens(events).entries()) {
      expectClose({ logprob: logprob!, top: top! }, naive(logits[prompt.length - 1 + index], id, 3))
    }
    const plain = await answerOf(engine, requestOf({ prompt, sampling }))
    expect(plain.ids).toEqual(ids)
    expect(plain.events[1]).toEqual({ type: 'token', id: ids[0] })
  }))

/** Checks the prompt's log-probabilities of one answer. */
async function expectPromptLogprobs(
  model: DecoderModel,
  { prompt }: EngineRequest,
  events: readonly EngineEvent[],
  top: number,
): Promise<void> {
  const started = events[0]
  if (started.type !== 'started') throw new Error('the first event is not the start')
  expect(started).toMatchObject({ cachedTokens: 0 })
  expect(started.promptLogprobs).toHaveLength(prompt.length)
  expect(started.promptLogprobs?.[0]).toBeNull()
  const logits = await logitsOf(model, [...prompt])
  for (let index = 1; index < prompt.length; index++) {
    expectClose(started.promptLogprobs?.[index], naive(logits[index - 1], prompt[index], top))
  }
}

test('log-probabilities of a prompt come whole, though it is worked in chunks and its pages are cached', () =>
  withEngine({ stepTokens: 16 }, async (engine, model) => {
    const request = requestOf({ prompt: randomIds(41, 7), maxTokens: 2, logprobs: 2, promptLogprobs: true })
    const { ids } = await answerOf(engine, { ...request, promptLogprobs: false })
    for (const prompt of [request.prompt, request.prompt.subarray(0, 1)]) {
      const { events } = await answerOf(engine, { ...request, prompt })
      await expectPromptLogprobs(model, { ...request, prompt }, events, 2)
    }
    const { ids: echoed, events } = await answerOf(engine, { ...request, logprobs: undefined })
    expect(echoed).toEqual(ids)
    await expectPromptLogprobs(model, request, events, 0)
  }))

test('they are whole, too, where the prompt was pushed out in between', () =>
  withEngine({ cacheTokens: 64, stepTokens: 9, maxSequences: 3 }, async (engine, model) => {
    const long = requestOf({ prompt: randomIds(8, 1), maxTokens: 50 })
    const request = requestOf({ prompt: randomIds(36, 2), maxTokens: 8, logprobs: 1, promptLogprobs: true })
    const [, { events }] = await Promise.all([answerOf(engine, long), answerOf(engine, request), answerOf(engine, { ...long, salt: 'b' })])
    expect((await engine.stats()).preemptions).toBeGreaterThan(0)
    await expectPromptLogprobs(model, request, events, 1)
  }))

test('biases and penalties change the choice as they say', () =>
  withEngine({}, async (engine, model) => {
    const prompt = randomIds(9, 5)
    const { ids: plain } = await answerOf(engine, requestOf({ prompt }))
    const banned = await answerOf(engine, requestOf({ prompt, sampling: { ...greedy, logitBias: [[plain[0], -100]] } }))
    expect(banned.ids).not.toContain(plain[0])
    for (const [presencePenalty, frequencyPenalty] of [
      [2, 0],
      [0, 1.5],
      [-1, 0.5],
    ]) {
      const { ids } = await answerOf(
        engine,
        requestOf({ prompt, maxTokens: 12, sampling: { ...greedy, presencePenalty, frequencyPenalty } }),
      )
      const logits = await logitsOf(model, [...prompt, ...ids])
      for (const [index, id] of ids.entries()) {
        const penalized = logits[prompt.length - 1 + index].map((logit, other) => {
          const count = ids.slice(0, index).filter((made) => made === other).length
          return logit - (count > 0 ? presencePenalty : 0) - count * frequencyPenalty
        })
        expect(id).toBe(penalized.indexOf(Math.max(...penalized)))
      }
    }
  }))
