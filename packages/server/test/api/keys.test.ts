import { InvalidConfigError } from '@phsa/core'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type ApiKey, ApiKeys, hashApiKey } from '../../src/api/api-key.js'
import { KeyLimits } from '../../src/api/key-limits.js'
import type { Engine } from '../../src/engine/engine.js'
import { listen, post, statusFor, type TestServer, tinyEngine, until } from './api-server.js'

const keys: ApiKey[] = [
  { name: 'fox', sha256: hashApiKey('sk-fox'), maxConcurrent: 2 },
  { name: 'crow', sha256: hashApiKey('sk-crow').toUpperCase(), tokensPerMinute: 100 },
]
let engine: Engine
let server: TestServer
let time = 0

beforeAll(async () => {
  engine = await tinyEngine()
  server = await listen(engine, { keys, now: () => time })
})

afterAll(async () => {
  await server.close()
  await engine.stop()
})

const bearer = (key: string) => ({ authorization: `Bearer ${key}` })
const completion = { prompt: 'the fox saw grapes', max_tokens: 2, ignore_eos: true }

test('every route but health needs a key', async () => {
  for (const path of ['/v1/models', '/metrics', '/openapi.json', '/nothing']) {
    const response = await fetch(server.url + path)
    expect([response.status, response.headers.get('www-authenticate')]).toEqual([401, 'Bearer'])
    expect((await response.json()).error).toMatchObject({ code: 'invalid_api_key', type: 'authentication_error' })
  }
  for (const path of ['/v1/completions', '/v1/chat/completions', '/tokenize', '/detokenize', '/v1/embeddings']) {
    expect((await post(server.url + path, completion)).status).toBe(401)
  }
  for (const path of ['/health', '/health/live', '/health/ready']) expect((await fetch(server.url + path)).status).toBe(200)
})

test('with keys the host may have any name', async () => {
  expect(await statusFor(`${server.url}/v1/models`, 'api.example')).toBe(401)
})

test('only the very key is taken', async () => {
  for (const authorization of [
    'sk-fox',
    'Bearer',
    'Bearer ',
    'Bearer sk-fo',
    'Bearer sk-foxx',
    'Basic sk-fox',
    `Bearer ${keys[0].sha256}`,
  ]) {
    expect((await fetch(`${server.url}/v1/models`, { headers: { authorization } })).status).toBe(401)
  }
  for (const key of ['sk-fox', 'sk-crow']) expect((await fetch(`${server.url}/v1/models`, { headers: bearer(key) })).status).toBe(200)
})

test('an empty key is none: neither is it hashed, nor does it let anybody in', async () => {
  for (const key of ['', 'two words', 'clé']) expect(() => hashApiKey(key)).toThrow(InvalidConfigError)
  const emptyHash = 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855'
  const open = new ApiKeys([{ name: 'nobody', sha256: emptyHash }])
  for (const authorization of [undefined, '', 'Bearer', 'Bearer ']) expect(open.find(authorization)).toBeUndefined()
})

test('cached prompts are not shared between keys', async () => {
  const prompt = 'Grapes are sour, said the fox and left. '.repeat(4)
  const cached = async (key: string) => {
    time += 600_000
    const response = await post(`${server.url}/v1/completions`, { prompt, max_tokens: 1 }, bearer(key))
    return (await response.json()).usage.prompt_tokens_details.cached_tokens
  }
  expect(await cached('sk-fox')).toBe(0)
  expect(await cached('sk-crow')).toBe(0)
  expect(await cached('sk-fox')).toBeGreaterThan(0)
})

test('a key has so many texts at once; leaving gives the place back', async () => {
  expect((await post(`${server.url}/v1/completions`, { ...completion, n: 3 }, bearer('sk-fox'))).status).toBe(400)
  const abort = new AbortController()
  const streams = await fetch(`${server.url}/v1/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...bearer('sk-fox') },
    body: JSON.stringify({ ...completion, n: 2, max_tokens: 200, stream: true }),
    signal: abort.signal,
  })
  expect(streams.status).toBe(200)
  const third = await post(`${server.url}/v1/completions`, completion, bearer('sk-fox'))
  expect([third.status, third.headers.get('retry-after')]).toEqual([429, '1'])
  expect((await third.json()).error.code).toBe('concurrency_limit_exceeded')
  abort.abort()
  await until(async () => (await engine.stats()).running === 0)
  await until(async () => (await post(`${server.url}/v1/completions`, completion, bearer('sk-fox'))).status === 200)
})

test('a key has so many tokens a minute, over time', async () => {
  time += 600_000
  const prompt = 'a'.repeat(150)
  expect((await post(`${server.url}/v1/completions`, { prompt, max_tokens: 1 }, bearer('sk-crow'))).status).toBe(200)
  const over = await post(`${server.url}/v1/completions`, { prompt, max_tokens: 1 }, bearer('sk-crow'))
  expect([over.status, (await over.json()).error.code]).toEqual([429, 'token_limit_exceeded'])
  time += Number(over.headers.get('retry-after')) * 1000
  expect((await post(`${server.url}/v1/completions`, { prompt, max_tokens: 1 }, bearer('sk-crow'))).status).toBe(200)
})

test('a key pays for the tokens that are made, too', async () => {
  time += 600_000
  const ask = () => post(`${server.url}/v1/completions`, { prompt: 'a', max_tokens: 100, ignore_eos: true }, bearer('sk-crow'))
  expect([(await ask()).status, (await ask()).status]).toEqual([200, 429])
})

test('tokens are paid back at the rate of the limit, and no more than what was used', () => {
  let now = 0
  const limits = new KeyLimits({ name: 'a', sha256: '', tokensPerMinute: 60 }, () => now)
  limits.enter(1)()
  limits.charge(180)
  expect(() => limits.enter(1)).toThrow(expect.objectContaining({ status: 429, retryAfter: 121 }))
  now = 120_000
  expect(() => limits.enter(1)).toThrow(expect.objectContaining({ retryAfter: 1 }))
  now = 121_000
  limits.enter(1)()
  now = 3_600_000
  limits.enter(1)()
  limits.charge(60)
  expect(() => limits.enter(1)).toThrow(expect.objectContaining({ retryAfter: 1 }))
})

test('a place is given back once', () => {
  const limits = new KeyLimits({ name: 'a', sha256: '', maxConcurrent: 2 }, () => 0)
  const leave = limits.enter(1)
  limits.enter(1)
  leave()
  leave()
  limits.enter(1)
  expect(() => limits.enter(1)).toThrow(expect.objectContaining({ status: 429 }))
})

test.each([
  [{ name: 'a', sha256: 'sk-fox' }, 'keys[0].sha256'],
  [{ name: 'a', sha256: hashApiKey('a'), maxConcurrent: 0 }, 'keys[0].maxConcurrent'],
  [{ name: 'a', sha256: hashApiKey('a'), tokensPerMinute: 1.5 }, 'keys[0].tokensPerMinute'],
])('a key that is none is refused: %j', (key, setting) => {
  expect(() => new ApiKeys([key])).toThrow(InvalidConfigError)
  expect(() => new ApiKeys([key])).toThrow(expect.objectContaining({ setting }))
})

test('two keys of one name or hash are refused', () => {
  expect(() => new ApiKeys([keys[0], { ...keys[1], name: 'fox' }])).toThrow(/twice/)
  expect(() => new ApiKeys([keys[1], { name: 'other', sha256: keys[1].sha256.toLowerCase() }])).toThrow(/twice/)
})
