import { setTimeout as sleep } from 'node:timers/promises'
import { MessageChannel } from 'node:worker_threads'
import { isPhsaError, PhsaError } from '@phsa/core'
import { InvalidInputError } from '@phsa/model'
import { afterEach, expect, test } from 'vitest'
import type { EngineClient, EngineEvent, EngineLimits, EngineRequest, EngineStats } from '../../src/engine/engine-client.js'
import { EngineStoppedError } from '../../src/engine/engine-stopped-error.js'
import { QueueFullError } from '../../src/engine/queue-full-error.js'
import { EngineHost } from '../../src/port/engine-host.js'
import { EnginePort } from '../../src/port/engine-port.js'
import type { EngineAnswer } from '../../src/port/port-messages.js'

const limits = { maxTokens: 100, vocabSize: 64 } as EngineLimits
const usage = { promptTokens: 2, cachedTokens: 0, completionTokens: 3, activatedTokens: 9, visibleTokens: 9 }
const request = (maxTokens = 3) => ({ prompt: Int32Array.of(1, 2), maxTokens }) as unknown as EngineRequest
const token = (id: number): EngineEvent => ({ type: 'token', id })

/** An engine that gives all streams a token when `step` is called; it stands for any and computes nothing. */
class StepwiseEngine implements EngineClient {
  readonly limits = limits
  aborted = 0
  error: Error | undefined
  #waiting: (() => void)[] = []

  get running(): number {
    return this.#waiting.length
  }

  async *generate({ maxTokens, prompt }: EngineRequest, signal?: AbortSignal): AsyncGenerator<EngineEvent> {
    if (this.error) throw this.error
    signal?.addEventListener('abort', () => this.aborted++)
    yield { type: 'started', cachedTokens: prompt[1], queuedMilliseconds: 0 }
    for (let id = 0; id < maxTokens; id++) {
      await new Promise<void>((resolve) => this.#waiting.push(resolve))
      signal?.throwIfAborted()
      if (this.error) throw this.error
      yield token(id)
    }
    yield { type: 'end', reason: 'length', usage }
  }

  step(): void {
    for (const resolve of this.#waiting.splice(0)) resolve()
  }

  async stats(): Promise<EngineStats> {
    if (this.error) throw this.error
    return { running: this.running } as EngineStats
  }
}

const channels: MessageChannel[] = []
afterEach(() => {
  for (const { port1 } of channels.splice(0)) port1.close()
})

function connect(unread?: number) {
  const channel = new MessageChannel()
  channels.push(channel)
  const engine = new StepwiseEngine()
  new EngineHost(engine, channel.port1)
  const messages: EngineAnswer[] = []
  channel.port2.on('message', (message: EngineAnswer) => messages.push(message))
  return { engine, channel, messages, client: new EnginePort(channel.port2, limits, unread) }
}

async function collect(stream: AsyncIterable<EngineEvent>): Promise<EngineEvent[]> {
  const events: EngineEvent[] = []
  for await (const event of stream) events.push(event)
  return events
}

async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await sleep(1)
}

test('a step that gives tokens only crosses as two arrays', async () => {
  const { engine, client, messages } = connect()
  const streams = [2, 2].map((tokens) => collect(client.generate(request(tokens))))
  await until(() => engine.running === 2)
  const before = messages.length
  engine.step()
  await until(() => engine.running === 2 && messages.length > before)
  expect(messages.slice(before)).toEqual([{ type: 'tokens', streams: Int32Array.of(0, 1), ids: Int32Array.of(0, 0) }])
  engine.step()
  const [first, second] = await Promise.all(streams)
  expect(first.filter(({ type }) => type === 'token')).toEqual([token(0), token(1)])
  expect(second).toEqual(first)
})

test('what a step gives to many streams is told to a few at a time, and others of the thread get their turn in between', async () => {
  const { engine, client } = connect()
  const told: number[] = []
  let round = 0
  const streams = Array.from({ length: 20 }, async () => {
    for await (const event of client.generate(request(1))) if (event.type === 'token') told.push(round)
  })
  await until(() => engine.running === 20)
  await sleep(5)
  engine.step()
  for (; told.length < 20; round++) await new Promise(setImmediate)
  await Promise.all(streams)
  const together = [...new Set(told)].map((each) => told.filter((other) => other === each).length)
  expect(Math.max(...together)).toBeLessThan(20)
  expect(told.at(-1)! - told[0]).toBeGreaterThan(16)
})

test('where the connection ends, streams that wait for their turn are told first what had arrived', async () => {
  const { engine, channel, client, messages } = connect()
  const streams = Array.from({ length: 100 }, () => collect(client.generate(request())))
  const ends = Promise.allSettled(streams)
  await until(() => engine.running === 100)
  await sleep(20)
  const before = messages.length
  engine.error = new InvalidInputError('wrong')
  engine.step()
  while (messages.length === before) await new Promise(setImmediate)
  channel.port1.close()
  expect((await ends).filter((end) => end.status === 'rejected' && isPhsaError(end.reason, 'invalid-input'))).toHaveLength(100)
})

test('streams arrive whole and apart, one message a step for all of them', async () => {
  const { engine, client, messages } = connect()
  const streams = [1, 2, 3].map((tokens) => collect(client.generate(request(tokens))))
  await until(() => engine.running === 3)
  const before = messages.length
  engine.step()
  await until(() => engine.running === 2 && messages.length > before)
  await sleep(2)
  // Three tokens and one end, of three streams.
  expect(messages.slice(before).map((message) => message.type === 'events' && message.events.length)).toEqual([4])
  for (const left of [2, 1]) {
    await until(() => engine.running === left)
    engine.step()
  }
  const started = { type: 'started', cachedTokens: 2, queuedMilliseconds: 0 }
  const end = { type: 'end', reason: 'length', usage }
  expect(await Promise.all(streams)).toEqual([
    [started, token(0), end],
    [started, token(0), token(1), end],
    [started, token(0), token(1), token(2), end],
  ])
  expect(engine.aborted).toBe(0)
})

test.each([new QueueFullError('full'), new InvalidInputError('bad'), new EngineStoppedError('over'), new PhsaError('new-code', 'other')])(
  'an error keeps its code and words: $code',
  async (error) => {
    const { engine, client } = connect()
    engine.error = error
    const caught = await collect(client.generate(request())).catch((reason: unknown) => reason)
    expect(caught).toBeInstanceOf(error.constructor)
    expect(isPhsaError(caught, error.code)).toBe(true)
    expect(caught).toHaveProperty('message', error.message)
    await expect(client.stats()).rejects.toThrow(error.message)
  },
)

test('an error in the middle reaches its reader, and one that is not ours has no code', async () => {
  const { engine, client } = connect()
  const events = client.generate(request())
  await events.next()
  await until(() => engine.running === 1)
  engine.error = new TypeError('a mistake')
  engine.step()
  const caught = await events.next().catch((reason: unknown) => reason)
  expect([isPhsaError(caught), `${caught}`]).toEqual([false, 'Error: a mistake'])
})

test('leaving the loop cancels in the engine', async () => {
  const { engine, client } = connect()
  for await (const _ of client.generate(request())) break
  await until(() => engine.aborted === 1)
})

test('a signal cancels at once, also while nobody reads', async () => {
  const { engine, client } = connect()
  const controller = new AbortController()
  const events = client.generate(request(), controller.signal)
  await events.next()
  controller.abort(new Error('gone'))
  await until(() => engine.aborted === 1)
  await expect(events.next()).rejects.toThrow('gone')
  await expect(client.generate(request(), controller.signal).next()).rejects.toThrow('gone')
})

test('a reader that does not read is ended before its memory grows', async () => {
  const { engine, client } = connect(4)
  const slow = client.generate(request(50))
  await slow.next()
  for (let step = 0; step < 8 && engine.aborted === 0; step++) {
    await until(() => engine.running === 1)
    engine.step()
    await sleep(2)
  }
  expect(engine.aborted).toBe(1)
  const caught = await slow.next().catch((reason: unknown) => reason)
  expect(isPhsaError(caught, 'slow-client')).toBe(true)
})

test('when the other side closes, readers and later callers are told', async () => {
  const { engine, channel, client } = connect()
  const events = client.generate(request())
  await events.next()
  const statistics = client.stats()
  expect(await statistics).toEqual({ running: 1 })
  channel.port1.close()
  await expect(events.next()).rejects.toBeInstanceOf(EngineStoppedError)
  await expect(client.stats()).rejects.toBeInstanceOf(EngineStoppedError)
  await until(() => engine.aborted === 1)
})
