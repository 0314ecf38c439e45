import { setTimeout as sleep } from 'node:timers/promises'
import { type ModelBackend, OutOfMemoryError, RandomStream, reference } from '@phsa/core'
import type { DecoderModel } from '@phsa/model'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { TextConstraint } from '../../src/constrain/text-constraint.js'
import type { Engine, EngineOptions, EngineRequest, EngineStats } from '../../src/index.js'
import { mixedRequests } from './mixed-requests.js'
import { type Recordings, recordingBackend } from './recording-backend.js'
import { rewired } from './rewired-backend.js'
import { answerOf, greedy, loneRun, randomIds, requestOf, seeded, tinyModel, withEngine } from './tiny-engine.js'

let plain: ModelBackend
let lone: DecoderModel
beforeAll(async () => {
  plain = await reference()
  lone = await tinyModel(plain)
})
afterAll(() => plain.dispose())

async function withRecording(
  options: Partial<EngineOptions>,
  run: (engine: Engine, seen: Recordings) => Promise<void>,
): Promise<Recordings> {
  const seen = { replays: 0, ahead: 0 }
  await withEngine(
    options,
    (engine) => run(engine, seen),
    (backend) => recordingBackend(backend, seen),
  )
  return seen
}

test('recorded steps give the same tokens, whoever comes and goes', async () => {
  const { replays } = await withRecording({ cacheTokens: 64, maxTokens: 64, maxSequences: 5, stepTokens: 24 }, async (engine) => {
    const requests = mixedRequests(12)
    const answers = await Promise.all(requests.map((request) => answerOf(engine, request)))
    for (const [index, request] of requests.entries()) expect(answers[index].ids).toEqual(await loneRun(lone, request))
  })
  expect(replays).toBeGreaterThan(10)
})

test('where a recording has no room, steps are computed as before, and it is tried once', async () => {
  const seen = { replays: 0, ahead: 0 }
  let tried = 0
  const capture = async () => {
    tried++
    throw new OutOfMemoryError('no room')
  }
  const request = requestOf({ maxTokens: 12 })
  await withEngine(
    { cacheTokens: 256 },
    async (engine) => expect((await answerOf(engine, request)).ids).toEqual(await loneRun(lone, request)),
    (backend) => rewired(recordingBackend(backend, seen), { capture }),
  )
  expect([tried, seen.replays]).toEqual([1, 0])
})

test('a request alone has nearly all its steps queued before the tokens of the last one are known', async () => {
  const request = requestOf({ prompt: randomIds(20, 8), maxTokens: 30, sampling: seeded(6) })
  const { replays, ahead } = await withRecording({ cacheTokens: 256 }, async (engine) => {
    expect((await answerOf(engine, request)).ids).toEqual(await loneRun(lone, request))
    expect((await engine.stats()).steps).toBe(30)
  })
  // Not the first of them, nor those that prepare the recording.
  expect({ replays, ahead }).toEqual({ replays: 28, ahead: 27 })
})

test.each<[string, Partial<EngineRequest>]>([
  ['log-probabilities', { logprobs: 1 }],
  ['a penalty', { sampling: { ...greedy, presencePenalty: 0.5 } }],
])('%s need the host, so that every step waits for the last one', async (_, difference) => {
  const { replays, ahead } = await withRecording({ cacheTokens: 256 }, async (engine) => {
    await answerOf(engine, requestOf({ maxTokens: 12, ...difference }))
  })
  expect(replays).toBeGreaterThan(8)
  expect(ahead).toBe(0)
})

test('steps of which the recall is measured are not run ahead, and nothing else changes', async () => {
  const request = requestOf({ prompt: randomIds(90, 3), maxTokens: 12 })
  const { ahead } = await withRecording({ recallEvery: 4 }, async (engine) => {
    expect((await answerOf(engine, request)).ids).toEqual(await loneRun(lone, request))
    expect((await engine.stats()).recallSamples).toBe(3)
  })
  expect(ahead).toBeGreaterThan(2)
})

/** Allows one token after the other, each known some turns late. */
function oneAfterTheOther(ids: readonly number[]): TextConstraint {
  let place = 0
  const mask = () => Int32Array.of(1 << ids[place])
  let allowed: Int32Array | undefined = mask()
  let known = Promise.resolve()
  return {
    get allowed() {
      return allowed
    },
    get known() {
      return known
    },
    failed: new Promise(() => undefined),
    accept: () => {
      place++
      allowed = undefined
      known = sleep(1).then(() => {
        allowed = mask()
      })
    },
    dispose: () => undefined,
  }
}

test('who is held by a grammar holds nobody up, and beside it no step is run ahead', async () => {
  const words = [3, 9, 4, 1, 2]
  const plainRequest = requestOf({ prompt: randomIds(9, 4), maxTokens: 60, sampling: seeded(3) })
  const constraints = { open: async () => oneAfterTheOther(words) }
  const { ahead } = await withRecording({ cacheTokens: 256, constraints }, async (engine, seen) => {
    const held = answerOf(engine, requestOf({ maxTokens: 5, stopTokenIds: [28], grammar: 'any' }))
    const free = answerOf(engine, plainRequest)
    expect((await held).ids).toEqual(words)
    const before = seen.ahead
    expect((await free).ids).toEqual(await loneRun(lone, plainRequest))
    expect(before).toBe(0)
  })
  expect(ahead).toBeGreaterThan(0)
})

test('a prompt alone is read in larger parts, each queued before the last one is done', async () => {
  const request = requestOf({ prompt: randomIds(200, 3), maxTokens: 2 })
  await withRecording({ stepTokens: 16, maxSequences: 8 }, async (engine) => {
    expect((await answerOf(engine, request)).ids).toEqual(await loneRun(lone, request))
    // 64 + 64 + 64 + 8, and a token.
    expect((await engine.stats()).steps).toBe(5)
  })
})

/** A request, how many of its tokens its client waits for, and what it makes alone. */
interface Visit {
  readonly request: EngineRequest
  readonly arrives: number
  readonly patience: number
  readonly expected: readonly number[]
  readonly reason: 'stop' | 'length'
}

/** Some end by a stop token, some are left by their client. */
async function visitsOf(seed: number): Promise<Visit[]> {
  const random = new RandomStream(seed)
  const visits: Visit[] = []
  for (let index = 0; index < 7; index++) {
    const request = requestOf({
      prompt: randomIds(1 + random.below(24), 10 * seed + random.below(5)),
      maxTokens: 4 + random.below(24),
      sampling: random.below(3) === 0 ? greedy : seeded(random.below(1000)),
      attention: random.below(4) === 0 ? 'dense' : undefined,
    })
    const ids = await loneRun(lone, request)
    const stopId = ids[random.below(ids.length)]
    const isStopped = random.below(2) === 0
    visits.push({
      request: { ...request, stopTokenIds: isStopped ? [stopId] : [] },
      arrives: random.below(12),
      patience: random.below(3) === 0 ? 1 + random.below(6) : Number.POSITIVE_INFINITY,
      expected: isStopped ? ids.slice(0, ids.indexOf(stopId)) : ids,
      reason: isStopped ? 'stop' : 'length',
    })
  }
  return visits
}

async function visit(engine: Engine, { request, arrives, patience, expected, reason }: Visit): Promise<void> {
  for (let turns = 0; turns < 10 * arrives; turns++) await new Promise(setImmediate)
  const controller = new AbortController()
  const ids: number[] = []
  const answer = answerOf(engine, request, {
    signal: controller.signal,
    onEvent: (event) => {
      if (event.type === 'token') ids.push(event.id)
      if (ids.length === patience) controller.abort(new Error('gone'))
    },
  })
  const outcome = await answer.then(
    (whole) => whole.reason,
    (error: Error) => error.message,
  )
  if (outcome === 'gone') expect(ids).toEqual(expected.slice(0, ids.length))
  else expect({ ids, outcome }).toEqual({ ids: expected, outcome: reason })
}

test.each([1, 2, 3, 4])('texts that stop and clients that leave cost nobody a token or a page (%i)', async (seed) => {
  const visits = await visitsOf(seed)
  const { ahead } = await withRecording({ cacheTokens: 96, maxTokens: 64, maxSequences: 4, stepTokens: 24 }, async (engine) => {
    await Promise.all(visits.map((each) => visit(engine, each)))
    await engine.drain()
    expect(await engine.stats()).toMatchObject({ running: 0, waiting: 0, pagesUsed: 0 })
  })
  expect(ahead).toBeGreaterThan(0)
})

test('what a stopped text computed in vain is not found in the cache, and its whole pages are', async () => {
  await withRecording({ cacheTokens: 256 }, async (engine) => {
    const request = requestOf({ prompt: randomIds(10, 5), maxTokens: 40, sampling: seeded(9) })
    const ids = await loneRun(lone, request)
    const end = ids.findIndex((id, index) => index > 9 && ids.indexOf(id) === index)
    await answerOf(engine, { ...request, stopTokenIds: [ids[end]] })
    const prompt = Int32Array.of(...request.prompt, ...ids.slice(0, end), 1, 2, 3, 4, 5)
    const next = { ...request, prompt, maxTokens: 5 }
    const answer = await answerOf(engine, next)
    // Of 4 tokens each; the keys of the last token before the stop are there.
    expect(answer.usage.cachedTokens).toBe(4 * Math.floor((10 + end) / 4))
    expect(answer.ids).toEqual(await loneRun(lone, next))
    expect((await engine.stats()).tokensMade).toBe(end + 5)
  })
})

test.each([
  ['that decodes', requestOf({ maxTokens: 100 }), 8],
  ['whose prompt is read', requestOf({ prompt: randomIds(200, 4) }), 1],
])('an aborted request %s gives its pages back after one step, though another is queued', async (_, request, after) => {
  await withRecording({ cacheTokens: 256, stepTokens: 16, maxSequences: 8 }, async (engine) => {
    const controller = new AbortController()
    const answer = answerOf(engine, request, { signal: controller.signal })
    answer.catch(() => undefined)
    const stepsWhere = async (reached: (stats: EngineStats) => boolean) => {
      for (;;) {
        const stats = await engine.stats()
        if (reached(stats)) return stats.steps
        await new Promise(setImmediate)
      }
    }
    const before = await stepsWhere(({ steps }) => steps === after)
    // Now the next step is queued, and the one before it has not arrived.
    await new Promise(setImmediate)
    expect(await engine.stats()).toMatchObject({ steps: before, running: 1 })
    controller.abort(new Error('gone'))
    expect(await stepsWhere(({ pagesUsed }) => pagesUsed === 0)).toBe(before + 1)
    await expect(answer).rejects.toThrow('gone')
    await engine.drain()
    expect((await engine.stats()).steps).toBe(before + 2)
  })
})

test.each([
  ['of decoding', requestOf({ maxTokens: 20 }), 8, 2, 0],
  // The part behind the first one is done, but of a cache whose beginning holds anything.
  ['that reads a prompt', requestOf({ prompt: randomIds(200, 5), maxTokens: 2 }), 0, 0, 196],
])('a step %s that fails takes the one behind it along, and the engine goes on', async (_, request, first, pagesCached, cachedTokens) => {
  const seen = { replays: 0, ahead: 0 }
  let failsAt = Number.POSITIVE_INFINITY
  await withEngine(
    { cacheTokens: 256, stepTokens: 16, maxSequences: 8 },
    async (engine) => {
      failsAt = first
      await expect(answerOf(engine, request)).rejects.toThrow('no room')
      await answerOf(engine, requestOf({ prompt: Int32Array.of(1), maxTokens: 1 }))
      expect(await engine.stats()).toMatchObject({ pagesCached })
      expect((await answerOf(engine, request)).ids).toEqual(await loneRun(lone, request))
      expect((await answerOf(engine, request)).usage).toMatchObject({ cachedTokens })
      expect((await engine.stats()).pagesUsed).toBe(0)
    },
    (backend) => {
      const recording = recordingBackend(backend, seen)
      const download = recording.memory.download.bind(recording.memory)
      return Object.assign(recording, {
        memory: Object.assign(recording.memory, {
          download: async (...args: Parameters<typeof download>) => {
            if (seen.replays < failsAt) return download(...args)
            failsAt = Number.POSITIVE_INFINITY
            throw new OutOfMemoryError('no room')
          },
        }),
      })
    },
  )
})
