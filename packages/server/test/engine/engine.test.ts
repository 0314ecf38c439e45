import { BackendLostError, type ModelBackend, OutOfMemoryError, PunctuationTable, reference } from '@phsa/core'
import { expect, test } from 'vitest'
import { Engine, type EngineOptions, type EngineRequest, EngineStoppedError, QueueFullError } from '../../src/index.js'
import { mixedRequests } from './mixed-requests.js'
import { rewired } from './rewired-backend.js'
import { answerOf, greedy, loneRun, randomIds, requestOf, seeded, tinyModel, withEngine } from './tiny-engine.js'

test.each([24, 8])('20 requests at once, with few pages and steps of %i tokens, give the tokens that each gives alone', (stepTokens) =>
  withEngine({ cacheTokens: 64, maxTokens: 64, maxSequences: 8, stepTokens }, async (engine, model) => {
    const requests = mixedRequests(20)
    const answers = await Promise.all(requests.map((request) => answerOf(engine, request)))
    for (const [index, request] of requests.entries()) {
      expect(answers[index].ids, `request ${index}`).toEqual(await loneRun(model, request))
      expect(answers[index].reason).toBe('length')
      // Each position once, also where a request was pushed out and computed again.
      const { promptTokens, cachedTokens, completionTokens, visibleTokens } = answers[index].usage
      const below = (positions: number) => (positions * (positions + 1)) / 2
      expect(visibleTokens).toBe(below(promptTokens + completionTokens - 1) - below(cachedTokens))
    }
    const { preemptions, prefixHitTokens, tokensMade } = await engine.stats()
    expect(preemptions).toBeGreaterThan(0)
    expect(prefixHitTokens).toBeGreaterThan(0)
    expect(tokensMade).toBe(requests.reduce((sum, { maxTokens }) => sum + maxTokens, 0))
  }),
)

test('requests that leave free their pages within a step, and nobody else notices', () =>
  withEngine({ cacheTokens: 80, maxTokens: 64, maxSequences: 8, stepTokens: 24 }, async (engine, model) => {
    const requests = mixedRequests(20)
    const settled = await Promise.allSettled(
      requests.map(async (request, index) => {
        if (index % 3 > 0) return answerOf(engine, request)
        const controller = new AbortController()
        const ids: number[] = []
        for await (const event of engine.generate(request, controller.signal)) {
          if (event.type === 'token') ids.push(event.id)
          // Half of them break off the loop, the others abort.
          if (ids.length === 1 + (index % 4) && index % 2 === 0) break
          if (ids.length === 1 + (index % 4)) controller.abort(new Error('gone'))
        }
        return { ids }
      }),
    )
    for (const [index, request] of requests.entries()) {
      const result = settled[index]
      if (result.status === 'rejected') expect([index % 3, result.reason.message]).toEqual([0, 'gone'])
      else if (index % 3 > 0) expect(result.value.ids).toEqual(await loneRun(model, request))
    }
    await engine.drain()
    expect(await engine.stats()).toMatchObject({ running: 0, waiting: 0, pagesUsed: 0 })
  }))

test('an aborted prompt gives its pages back after the step under way', () =>
  withEngine({ stepTokens: 16 }, async (engine) => {
    const controller = new AbortController()
    // Comes after the first part of the prompt.
    const onEvent = () => controller.abort(new Error('gone'))
    await expect(answerOf(engine, requestOf({ prompt: randomIds(120, 4) }), { signal: controller.signal, onEvent })).rejects.toThrow('gone')
    await engine.drain()
    expect(await engine.stats()).toMatchObject({ pagesUsed: 0, steps: 1 })
  }))

test('a prompt whose beginning is cached gives the same tokens, and says what it found', () =>
  withEngine({}, async (engine, model) => {
    const request = requestOf({ prompt: randomIds(30, 9), sampling: seeded(4) })
    const first = await answerOf(engine, request)
    const second = await answerOf(engine, request)
    expect(first.ids).toEqual(await loneRun(model, request))
    expect(second.ids).toEqual(first.ids)
    expect([first.usage.cachedTokens, second.usage.cachedTokens]).toEqual([0, 28])
    expect(second.events[0]).toEqual({ type: 'started', cachedTokens: 28, queuedMilliseconds: expect.any(Number) })
    // The text is cached like the prompt, so a conversation goes on from where it was.
    const next = await answerOf(engine, { ...request, prompt: Int32Array.of(...request.prompt, ...first.ids, 3) })
    expect(next.usage.cachedTokens).toBe(36)
  }))

test.each([
  ['another key', { salt: 'other' }],
  ['dense attention', { attention: 'dense' as const }],
  ['another topK', { attention: { topK: 1 } }],
])('%s finds none of the pages', (_, difference) =>
  withEngine({}, async (engine) => {
    const request = requestOf({ prompt: randomIds(30, 9) })
    await answerOf(engine, request)
    expect((await answerOf(engine, { ...request, ...difference })).usage.cachedTokens).toBe(0)
    expect((await answerOf(engine, request)).usage.cachedTokens).toBe(28)
  }),
)

test('a stop token ends the text and is not given out', () =>
  withEngine({}, async (engine, model) => {
    const request = requestOf({ prompt: randomIds(12, 2), maxTokens: 12 })
    const ids = await loneRun(model, request)
    const stop = ids.findIndex((id, index) => index > 0 && ids.indexOf(id) === index)
    const { ids: made, reason, usage } = await answerOf(engine, { ...request, stopTokenIds: [ids[stop]] })
    expect({ made, reason }).toEqual({ made: ids.slice(0, stop), reason: 'stop' })
    expect(usage).toMatchObject({ promptTokens: 12, completionTokens: stop, cachedTokens: 0 })
  }))

test('usage counts the keys that were seen, each position once', () =>
  withEngine({}, async (engine) => {
    const request = requestOf({ prompt: randomIds(40, 2), maxTokens: 3 })
    const positions = Array.from({ length: 42 }, (_, position) => position)
    const visible = positions.reduce((sum, position) => sum + position + 1, 0)
    // All keys until there are more than first 4 + window + 2 blocks of 4; the window ends with the query's own, partial block.
    const activated = positions.reduce((sum, position) => sum + Math.min(position + 1, 4 + 4 + (position % 4) + 1 + 8), 0)
    expect((await answerOf(engine, request)).usage).toMatchObject({ activatedTokens: activated, visibleTokens: visible })
    expect((await answerOf(engine, { ...request, attention: 'dense' })).usage).toMatchObject({
      activatedTokens: visible,
      visibleTokens: visible,
    })
  }))

test('a full queue refuses, and takes more when there is room again', () =>
  withEngine({ maxWaiting: 2, maxSequences: 1 }, async (engine) => {
    const first = [answerOf(engine, requestOf()), answerOf(engine, requestOf()), answerOf(engine, requestOf())]
    await expect(answerOf(engine, requestOf())).rejects.toThrow(QueueFullError)
    await Promise.all(first)
    expect((await answerOf(engine, requestOf())).ids).toHaveLength(8)
  }))

test.each<[Partial<EngineRequest>, RegExp]>([
  [{ prompt: new Int32Array(0) }, /the prompt has no tokens/],
  [{ prompt: Int32Array.of(29) }, /prompt\[0\] is 29; it must be an integer from 0 to 28/],
  [{ maxTokens: 0 }, /maxTokens is 0/],
  [{ maxTokens: 62 }, /the prompt has 3 tokens and 62 more were asked for; there is room for 64 together/],
  [{ sampling: { ...greedy, topP: 0 } }, /sampling\.topP is 0/],
  [{ sampling: { ...greedy, presencePenalty: Number.NaN } }, /presencePenalty is NaN/],
  [{ sampling: { ...greedy, logitBias: [[30, 1]] } }, /logitBias\[0\] is 30/],
  [{ sampling: { ...greedy, logitBias: [[3, Number.POSITIVE_INFINITY]] } }, /logitBias of token 3 is Infinity/],
  [{ logprobs: 6 }, /logprobs is 6; it must be an integer from 0 to 5/],
  [{ attention: { topK: 5 } }, /topK is 5; it must be an integer from 1 to 4/],
  [{ attention: 'dense' }, /dense attention is not offered here; ask for a topK from 1 to 4/],
])('%o is refused with the reason', (difference, message) =>
  withEngine({ maxTokens: 64, maxLogprobs: 5, minTopK: 1, maxTopK: 4, dense: false }, async (engine) => {
    await expect(answerOf(engine, requestOf(difference))).rejects.toMatchObject({
      code: 'invalid-input',
      message: expect.stringMatching(message),
    })
  }),
)

test.each<[Partial<EngineOptions>, RegExp]>([
  [{ pageTokens: 6 }, /pageTokens is 6; it must be a multiple of the block size, which is 4/],
  [{ maxSequences: 8, stepTokens: 7 }, /stepTokens is 7; it must be an integer from 8/],
  [{ stepTokens: 32, promptTokens: 31 }, /promptTokens is 31; it must be an integer from 32/],
  [{ minTopK: 5, maxTopK: 4 }, /minTopK is 5; it must be an integer from 0 to 4/],
  [{ defaultAttention: { topK: 9 }, maxTopK: 8 }, /topK of defaultAttention is 9/],
  [{ punctuation: new PunctuationTable(new Map(), 28) }, /the punctuation table has 28 tokens, the model 29/],
])('an engine of %o is refused with the reason', async (options, message) => {
  const backend = await reference()
  const model = await tinyModel(backend)
  expect(() => new Engine({ model, ...options })).toThrow(message)
  backend.dispose()
})

test('draining finishes what runs and refuses the rest; stopping ends it', () =>
  withEngine({}, async (engine) => {
    const running = answerOf(engine, requestOf())
    const drained = engine.drain()
    await expect(answerOf(engine, requestOf())).rejects.toThrow(EngineStoppedError)
    await drained
    expect((await running).ids).toHaveLength(8)
  }))

test('stopping ends streams with the reason', () =>
  withEngine({}, async (engine) => {
    await expect(answerOf(engine, requestOf({ maxTokens: 200 }), { onEvent: () => void engine.stop() })).rejects.toThrow(EngineStoppedError)
    await expect(answerOf(engine, requestOf())).rejects.toThrow(EngineStoppedError)
  }))

test('a lost backend ends all streams with its reason', () => {
  let lose: (error: BackendLostError) => void
  const lost = new Promise<BackendLostError>((resolve) => {
    lose = resolve
  })
  return withEngine(
    {},
    async (engine) => {
      const request = requestOf({ maxTokens: 200 })
      const onEvent = () => lose(new BackendLostError('the device is gone'))
      const running = [answerOf(engine, request, { onEvent }), answerOf(engine, request)]
      await Promise.all(running.map((answer) => expect(answer).rejects.toThrow('the device is gone')))
      await expect(answerOf(engine, requestOf())).rejects.toThrow(/the engine has failed and takes no more requests: the device is gone/)
      await engine.drain()
    },
    (plain) => rewired(plain, { lost }),
  )
})

test('a step that runs out of memory costs its own requests only', async () => {
  let fails = false
  const failing = (plain: ModelBackend) =>
    rewired(plain, {
      ops: {
        ...plain.ops,
        sample: (logits, control) => {
          if (fails) throw new OutOfMemoryError('no room for logits')
          return plain.ops.sample(logits, control)
        },
      },
    })
  await withEngine(
    { maxSequences: 1 },
    async (engine, model) => {
      const request = requestOf({ maxTokens: 16 })
      const onEvent = () => {
        fails = true
      }
      const first = answerOf(engine, request, { onEvent }).finally(() => {
        fails = false
      })
      const second = answerOf(engine, request)
      await expect(first).rejects.toThrow('no room for logits')
      expect((await second).ids).toEqual(await loneRun(model, request))
    },
    failing,
  )
})
