import type { RequestListener } from 'node:http'
import { connect, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { isPhsaError } from '@phsa/core'
import { afterEach, expect, test } from 'vitest'
import { HttpListener } from '../../src/listen/http-listener.js'
import { USUAL_TIMEOUTS } from '../../src/listen/http-timeouts.js'

const listeners: HttpListener[] = []
afterEach(async () => {
  for (const listener of listeners.splice(0)) await listener.close()
})

async function listen(answer: RequestListener, timeouts = {}): Promise<HttpListener> {
  const listener = await HttpListener.listen(answer, '127.0.0.1', 0, { ...USUAL_TIMEOUTS, ...timeouts })
  listeners.push(listener)
  return listener
}

/** A connection as a client's mistakes would have it: what was sent is all that is ever sent. */
async function send(listener: HttpListener, text: string): Promise<Socket> {
  const socket = connect(listener.address.port, '127.0.0.1')
  socket.on('error', () => undefined)
  await new Promise((resolve) => socket.once('connect', resolve))
  socket.write(text)
  return socket
}

const closed = (socket: Socket) => new Promise<void>((resolve) => socket.once('close', () => resolve()))

test('headers that never end are answered 408', async () => {
  const listener = await listen((_, response) => response.end('late'), { headers: 40, request: 80 })
  const socket = await send(listener, 'GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ')
  let answer = ''
  socket.on('data', (data) => (answer += data))
  await closed(socket)
  expect(answer).toMatch(/^HTTP\/1.1 408 /)
})

test('headers of more than 16 KiB are answered 431', async () => {
  const listener = await listen((_, response) => response.end('taken'))
  const answerTo = async (length: number) => {
    const socket = await send(listener, `GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-Long: ${'x'.repeat(length)}\r\n\r\n`)
    let answer = ''
    socket.on('data', (data) => (answer += data))
    await closed(socket)
    return answer
  }
  expect(await answerTo(15_000)).toMatch(/^HTTP\/1.1 200 /)
  expect(await answerTo(17_000)).toMatch(/^HTTP\/1.1 431 /)
})

test('a connection too many is closed; when one ends another is taken', async () => {
  const listener = await listen((_, response) => response.end('taken'), { maxConnections: 1 })
  const first = await send(listener, '')
  await closed(await send(listener, ''))
  expect(first.destroyed).toBe(false)
  first.destroy()
  await sleep(20)
  const next = await send(listener, 'GET / HTTP/1.1\r\nHost: x\r\n\r\n')
  expect(String(await new Promise((resolve) => next.once('data', resolve)))).toMatch(/^HTTP\/1.1 200 /)
  next.destroy()
})

test('a client that does not read is cut off; one that reads is not', async () => {
  let stopped = 0
  const endless: RequestListener = (_, response) => {
    const more = () => {
      while (response.write('x'.repeat(65_536)));
    }
    response.on('drain', more).on('close', () => stopped++)
    more()
  }
  const listener = await listen(endless, { stalled: 120 })
  const slow = await send(listener, 'GET / HTTP/1.1\r\nHost: x\r\n\r\n')
  slow.pause()
  const reader = await send(listener, 'GET / HTTP/1.1\r\nHost: x\r\n\r\n')
  reader.on('data', () => undefined)
  while (stopped === 0) await sleep(5)
  await sleep(50)
  expect([stopped, reader.readableEnded, reader.destroyed]).toEqual([1, false, false])
  reader.destroy()
  slow.destroy()
})

test('idle waits for open responses; close cuts what goes on', async () => {
  const listener = await listen((_, response) => response.write('first'))
  await listener.idle()
  const socket = await send(listener, 'GET / HTTP/1.1\r\nHost: x\r\n\r\n')
  await new Promise((resolve) => socket.once('data', resolve))
  let isIdle = false
  const idle = listener.idle().then(() => {
    isIdle = true
  })
  await sleep(20)
  expect(isIdle).toBe(false)
  await Promise.all([listener.close(), closed(socket), idle])
})

test('idle does not wait for a request that never comes whole', async () => {
  const listener = await listen((request, response) => request.resume().on('end', () => response.end()))
  const socket = await send(listener, 'POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\nExpect: 100-continue\r\n\r\n')
  await new Promise((resolve) => socket.once('data', resolve))
  await listener.idle()
  expect(socket.readableEnded).toBe(false)
})

test.each([
  ['in use', '127.0.0.1', /^127\.0\.0\.1:\d+ is in use by another program; give another port/],
  ['of another machine', '192.0.2.1', /^192\.0\.2\.1:\d+ is no address of this machine/],
])('an address %s is a clear error', async (_, host, message) => {
  const { port } = (await listen(() => undefined)).address
  const caught = await HttpListener.listen(() => undefined, host, port).catch((error: unknown) => error)
  expect(isPhsaError(caught, 'listen')).toBe(true)
  expect(caught).toHaveProperty('message', expect.stringMatching(message))
})
