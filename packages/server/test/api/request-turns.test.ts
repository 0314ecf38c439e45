import { once } from 'node:events'
import { connect } from 'node:net'
import { expect, test } from 'vitest'
import { RequestTurns } from '../../src/api/request-turns.js'
import { listen, tinyEngine } from './api-server.js'

const round = () => new Promise(setImmediate)

test('who asks alone goes on at once; of several one goes on at a time, in the order of asking, with rounds of the event loop in between', async () => {
  const turns = new RequestTurns()
  const seen: number[] = []
  const rounds: number[] = []
  let count = 0
  for (const index of [0, 1, 2]) {
    void turns.next().then(() => {
      seen.push(index)
      rounds.push(count)
    })
  }
  await Promise.resolve()
  expect(seen).toEqual([0])
  for (; seen.length < 3; count++) await round()
  expect(seen).toEqual([0, 1, 2])
  expect(rounds[1]).toBeGreaterThan(8)
  expect(rounds[2] - rounds[1]).toBeGreaterThan(8)

  for (let wait = 0; wait < 32; wait++) await round()
  let isMine = false
  void turns.next().then(() => {
    isMine = true
  })
  await Promise.resolve()
  expect(isMine).toBe(true)
})

test('a burst of requests holds up nobody who asks for the health of the server', async () => {
  const engine = await tinyEngine()
  const server = await listen(engine)
  try {
    const burst = 40
    const body = JSON.stringify({ prompt: 'It is a truth universally acknowledged' })
    const request = `POST /tokenize HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n${body}`
    const socket = connect(Number(new URL(server.url).port), '127.0.0.1')
    socket.resume()
    await once(socket, 'connect')
    socket.write(request.repeat(burst))
    while (server.lines.length === 0) await round()
    expect((await fetch(`${server.url}/health`)).status).toBe(200)
    const before = server.lines.filter(({ route }) => route === '/tokenize').length
    expect(before).toBeLessThan(burst)
    while (server.lines.length < burst + 1) await round()
    expect(server.lines.every(({ status }) => status === 200)).toBe(true)
    socket.destroy()
  } finally {
    await server.close()
    await engine.stop()
  }
})

test('who has left when it is their turn is not worked for', async () => {
  const engine = await tinyEngine()
  const server = await listen(engine)
  try {
    const gone = new AbortController()
    const ask = (signal?: AbortSignal) =>
      fetch(`${server.url}/tokenize`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ prompt: 'a' }),
        signal,
      })
    const before = Array.from({ length: 10 }, () => ask())
    const left = Array.from({ length: 10 }, () => ask(gone.signal).catch(() => undefined))
    while (server.lines.length === 0) await round()
    gone.abort()
    await Promise.all([...before, ...left])
    while (server.lines.length < 20) await round()
    expect(server.lines.filter(({ status }) => status === 499).length).toBeGreaterThan(0)
    expect((await engine.stats()).running).toBe(0)
  } finally {
    await server.close()
    await engine.stop()
  }
})
