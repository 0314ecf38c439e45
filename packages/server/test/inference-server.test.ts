import { Worker } from 'node:worker_threads'
import { BackendLostError } from '@phsa/core'
import { afterEach, expect, test } from 'vitest'
import type { EngineLimits, EngineStats } from '../src/engine/engine-client.js'
import { InferenceServer, listening, type ServedEngine } from '../src/inference-server.js'

/** Stands for the thread of HTTP: `idle` when there are no requests, `crash` when it is told so. */
const THREAD = `
const { parentPort, workerData } = require('node:worker_threads')
parentPort.on('message', (call) => {
  if (call === 'crash') throw new TypeError('a mistake')
  if (call === 'close') parentPort.postMessage({ type: 'closed' })
  if (call === 'drain' && !workerData.busy) parentPort.postMessage({ type: 'idle' })
})
if (workerData.fails) {
  parentPort.postMessage({ type: 'failed', error: { code: 'listen', message: 'taken' } })
  parentPort.close()
} else parentPort.postMessage({ type: 'listening', address: { address: '::1', family: 'IPv6', port: 8000 } })
`

class EngineStub implements ServedEngine {
  readonly limits = {} as EngineLimits
  readonly cacheTokens = 64
  readonly cacheBytes = 1
  stops = 0
  fail: (reason: unknown) => void = () => undefined
  readonly failed = new Promise<unknown>((resolve) => {
    this.fail = resolve
  })

  // biome-ignore lint/correctness/useYield: no request comes here
  async *generate(): AsyncGenerator<never> {
    throw new Error('not asked for')
  }

  async stats(): Promise<EngineStats> {
    return {} as EngineStats
  }

  async stop(): Promise<void> {
    this.stops++
  }
}

const workers: Worker[] = []
afterEach(async () => {
  for (const worker of workers.splice(0)) await worker.terminate()
})

async function start(workerData: Record<string, boolean> = {}) {
  const worker = new Worker(THREAD, { eval: true, workerData })
  workers.push(worker)
  const engine = new EngineStub()
  return { worker, engine, server: new InferenceServer(worker, engine, await listening(worker)) }
}

test('it is where the thread listens, until it is closed', async () => {
  const { server, engine } = await start()
  expect(server.url).toBe('http://[::1]:8000')
  await Promise.all([server.close(), server.close()])
  await server.ended
  expect(engine.stops).toBeGreaterThan(0)
})

test('what keeps the thread from listening is thrown, with its code', async () => {
  await expect(start({ fails: true })).rejects.toMatchObject({ code: 'listen', message: 'taken' })
})

test('a drain waits for what runs, and no longer than its grace', async () => {
  expect(await (await start()).server.drain(60_000)).toBe(true)
  const { server, engine } = await start({ busy: true })
  expect(await server.drain(20)).toBe(false)
  expect(engine.stops).toBeGreaterThan(0)
  await server.ended
})

test('an engine that fails ends the server with the reason', async () => {
  const { server, engine } = await start()
  const reason = new BackendLostError('the GPU fell off')
  engine.fail(reason)
  await expect(server.ended).rejects.toBe(reason)
})

test('a thread that fails ends the engine and the server; a drain then does not wait', async () => {
  const { server, engine, worker } = await start({ busy: true })
  worker.postMessage('crash')
  await expect(server.ended).rejects.toThrow('a mistake')
  expect(engine.stops).toBeGreaterThan(0)
  expect(await server.drain(60_000)).toBe(false)
})
