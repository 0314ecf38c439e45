import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { ServerPhase } from '../../src/api/api-settings.js'
import type { Engine } from '../../src/engine/engine.js'
import { QueueFullError } from '../../src/engine/queue-full-error.js'
import { listen, post, statusFor, type TestServer, tinyEngine } from './api-server.js'

let engine: Engine
let server: TestServer
let phase: ServerPhase = 'ready'

beforeAll(async () => {
  engine = await tinyEngine()
  server = await listen(engine, { maxBodyBytes: 20_000, phase: () => phase })
})

afterAll(async () => {
  await server.close()
  await engine.stop()
})

const completion = { prompt: 'a fox', max_tokens: 2 }
const chat = { messages: [{ role: 'user', content: 'a fox' }], max_tokens: 2 }

async function errorOf(response: Response): Promise<{ message: string; type: string; param: string | null; code: string | null }> {
  return (await response.json()).error
}

describe('a wrong parameter is a 400 that names it', () => {
  const wrong: [route: string, body: object, param: string | null][] = [
    ['completions', { ...completion, foo: 1 }, 'foo'],
    ['completions', { ...completion, __proto__x: null }, '__proto__x'],
    ['completions', {}, 'prompt'],
    ['completions', { prompt: '' }, 'prompt'],
    ['completions', { prompt: [] }, 'prompt'],
    ['completions', { prompt: ['a', 1] }, 'prompt'],
    ['completions', { prompt: [1.5] }, 'prompt'],
    ['completions', { prompt: [99_999] }, 'prompt'],
    ['completions', { prompt: '\ud800' }, 'prompt'],
    ['completions', { prompt: Array(65).fill('a') }, 'prompt'],
    ['completions', { prompt: 'a'.repeat(300) }, 'prompt'],
    ['completions', { ...completion, max_tokens: 255 }, 'max_tokens'],
    ['completions', { ...completion, max_tokens: 0 }, 'max_tokens'],
    ['completions', { ...completion, suffix: 'b' }, 'suffix'],
    ['completions', { ...completion, n: 3, best_of: 2 }, 'best_of'],
    ['completions', { ...completion, best_of: 2, stream: true }, 'best_of'],
    ['completions', { ...completion, n: 17 }, 'n'],
    ['completions', { ...completion, best_of: 17 }, 'best_of'],
    ['completions', { ...completion, temperature: 3 }, 'temperature'],
    ['completions', { ...completion, temperature: '1' }, 'temperature'],
    ['completions', { ...completion, top_p: 0 }, 'top_p'],
    ['completions', { ...completion, seed: -1 }, 'seed'],
    ['completions', { ...completion, stop: Array(17).fill('a') }, 'stop'],
    ['completions', { ...completion, stop: [''] }, 'stop'],
    ['completions', { ...completion, logit_bias: { a: 1 } }, 'logit_bias.a'],
    ['completions', { ...completion, logit_bias: { 5000: 1 } }, 'logit_bias'],
    ['completions', { ...completion, logit_bias: { 5: 101 } }, 'logit_bias.5'],
    ['completions', { ...completion, logprobs: 21 }, 'logprobs'],
    ['completions', { ...completion, stream_options: { include_usage: true } }, 'stream_options'],
    ['completions', { ...completion, stream: true, stream_options: { foo: 1 } }, 'stream_options.foo'],
    ['completions', { ...completion, phsa: { topK: 9 } }, 'phsa.topK'],
    ['completions', { ...completion, phsa: { topK: 1, dense: true } }, 'phsa'],
    ['completions', { ...completion, store: true }, 'store'],
    ['completions', { ...completion, guided_json: {} }, 'guided_json'],
    ['chat/completions', {}, 'messages'],
    ['chat/completions', { messages: [] }, 'messages'],
    ['chat/completions', { messages: [{ role: 'narrator', content: 'a' }] }, 'messages[0].role'],
    ['chat/completions', { messages: [{ role: 'user' }] }, 'messages[0].content'],
    [
      'chat/completions',
      { messages: [{ role: 'user', content: [{ type: 'image_url', image_url: { url: 'a' } }] }] },
      'messages[0].content[0].type',
    ],
    ['chat/completions', { ...chat, max_completion_tokens: 3 }, 'max_tokens'],
    ['chat/completions', { ...chat, top_logprobs: 2 }, 'top_logprobs'],
    [
      'chat/completions',
      { ...chat, response_format: { type: 'json_schema', json_schema: { name: 'x' } } },
      'response_format.json_schema.schema',
    ],
    ['chat/completions', { ...chat, tools: [{ type: 'function', function: { name: 'f' } }] }, 'tools'],
    ['chat/completions', { ...chat, functions: [] }, 'functions'],
    ['chat/completions', { ...chat, chat_template_kwargs: { enable_thinking: false } }, 'chat_template_kwargs'],
    ['chat/completions', { ...chat, chat_template_kwargs: { messages: 'x' } }, 'chat_template_kwargs'],
    ['chat/completions', { messages: Array(8193).fill(0) }, 'messages'],
    ['embeddings', { input: 'a' }, null],
  ]
  test.each(wrong.map(([route, body, param], index) => ({ index, route, body, param })))(
    '$index: $route, $param',
    async ({ route, body, param }) => {
      const response = await post(`${server.url}/v1/${route}`, body)
      const error = await errorOf(response)
      expect([response.status, error.param]).toEqual([400, param])
      expect(error.type).toBe('invalid_request_error')
      expect(error.message.length).toBeGreaterThan(20)
    },
  )
})

test('bodies that are no JSON, no UTF-8, no object, or nested without end', async () => {
  const send = (body: BodyInit, type = 'application/json') =>
    fetch(`${server.url}/v1/completions`, { method: 'POST', headers: { 'content-type': type }, body })
  expect((await send('{')).status).toBe(400)
  expect((await errorOf(await send(Buffer.from('{"prompt":"\xff"}', 'latin1')))).message).toContain('not valid UTF-8')
  expect((await send('[1]')).status).toBe(400)
  expect((await send('')).status).toBe(400)
  expect((await send(`{"prompt":${'['.repeat(5000)}${']'.repeat(5000)}}`)).status).toBe(400)
  expect((await errorOf(await send(`${'['.repeat(70)}${']'.repeat(70)}`))).message).toContain('the body is nested deeper than 64 levels')
  expect((await send('{"prompt":"a"}', 'text/plain')).status).toBe(415)
})

test('a compressed body is a 415 that says so', async () => {
  const response = await post(`${server.url}/v1/completions`, completion, { 'content-encoding': 'gzip' })
  expect([response.status, (await errorOf(response)).message]).toEqual([415, expect.stringContaining('without compression')])
})

test('a body that is too large is a 413, with and without its length', async () => {
  const large = JSON.stringify({ prompt: 'a'.repeat(30_000) })
  const whole = await fetch(`${server.url}/v1/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: large,
  })
  expect([whole.status, (await errorOf(whole)).code]).toEqual([413, 'body_too_large'])
  const body = new Blob([large]).stream()
  const options = { method: 'POST', headers: { 'content-type': 'application/json' }, body, duplex: 'half' }
  const chunked = await fetch(`${server.url}/v1/completions`, options as RequestInit)
  expect([chunked.status, (await errorOf(chunked)).code]).toEqual([413, 'body_too_large'])
  // One after the other on a connection: what is left of a body ends it neither for its own answer nor for the next.
  const prompt = 'a'.repeat(2 ** 20)
  for (let count = 0; count < 4; count++) expect((await post(`${server.url}/v1/completions`, { prompt })).status).toBe(413)
})

test('an unknown route, method or model is a 404', async () => {
  expect((await fetch(`${server.url}/v1/nothing`)).status).toBe(404)
  expect((await fetch(`${server.url}/v1/completions`)).status).toBe(404)
  const model = await post(`${server.url}/v1/completions`, { ...completion, model: 'gpt' })
  expect([model.status, (await errorOf(model)).code]).toEqual([404, 'model_not_found'])
  expect((await fetch(`${server.url}/v1/models/other/model`)).status).toBe(404)
})

test('fields without effect, and null for what is left open, are taken', async () => {
  const idle = { user: 'u', metadata: { a: 'b' }, store: false, service_tier: 'auto', safety_identifier: 's', prompt_cache_key: 'k' }
  const response = await post(`${server.url}/v1/completions`, {
    ...completion,
    ...idle,
    suffix: null,
    temperature: null,
    stop: null,
    logit_bias: null,
    n: null,
  })
  expect(response.status).toBe(200)
  expect(
    (
      await post(`${server.url}/v1/chat/completions`, {
        ...chat,
        ...idle,
        response_format: { type: 'text' },
        tools: null,
        tool_choice: 'auto',
      })
    ).status,
  ).toBe(200)
})

test('while it drains requests are refused with 503, /health says so, and the rest is answered', async () => {
  phase = 'draining'
  try {
    const response = await post(`${server.url}/v1/completions`, completion)
    expect([response.status, response.headers.get('retry-after'), (await errorOf(response)).code]).toEqual([503, '5', 'draining'])
    expect((await fetch(`${server.url}/health`)).status).toBe(503)
    expect((await fetch(`${server.url}/health/ready`)).status).toBe(503)
    expect((await fetch(`${server.url}/health/live`)).status).toBe(200)
    expect((await fetch(`${server.url}/metrics`)).status).toBe(200)
  } finally {
    phase = 'ready'
  }
  expect((await fetch(`${server.url}/health`)).status).toBe(200)
})

describe('an engine that fails', () => {
  async function withFailing(error: Error, after: number, run: (failing: TestServer) => Promise<void>): Promise<void> {
    const failing = await listen({
      limits: engine.limits,
      stats: () => engine.stats(),
      async *generate() {
        if (after > 0) yield { type: 'started', cachedTokens: 0, queuedMilliseconds: 0 }
        if (after > 1) yield { type: 'token', id: 70 }
        throw error
      },
    })
    await run(failing).finally(() => failing.close())
  }

  test('a full queue is a 429 that says when to try again, also for streams', () =>
    withFailing(new QueueFullError('as many requests wait as may.'), 0, async (failing) => {
      for (const stream of [false, true]) {
        const response = await post(`${failing.url}/v1/completions`, { ...completion, stream })
        expect([response.status, response.headers.get('retry-after')]).toEqual([429, '2'])
        expect(await errorOf(response)).toMatchObject({ code: 'queue_full', type: 'rate_limit_error' })
      }
    }))

  test('where one of several texts is refused, the answer does not wait for the others', async () => {
    let ended = 0
    const busy = await listen({
      limits: engine.limits,
      stats: () => engine.stats(),
      async *generate({ sampling }, signal) {
        if (sampling.seed > 0) throw new QueueFullError('as many requests wait as may.')
        await new Promise((resolve) => signal!.addEventListener('abort', resolve))
        ended++
      },
    })
    expect((await post(`${busy.url}/v1/completions`, { ...completion, seed: 0, n: 2 })).status).toBe(429)
    expect(ended).toBe(1)
    await busy.close()
  })

  test('what nobody expected is a 500 that tells nothing; the log has the reason', () =>
    withFailing(new Error('secret of the inside'), 0, async (failing) => {
      const response = await post(`${failing.url}/v1/completions`, completion)
      expect(response.status).toBe(500)
      expect(JSON.stringify(await response.json())).not.toContain('secret')
      expect(failing.lines.at(-1)).toMatchObject({ level: 'error', status: 500, requestId: response.headers.get('x-request-id') })
      expect(failing.lines.at(-1)?.reason).toContain('secret of the inside')
    }))

  test('a stream that breaks ends with the error and without [DONE]', () =>
    withFailing(new Error('secret of the inside'), 2, async (failing) => {
      const response = await post(`${failing.url}/v1/completions`, { ...completion, stream: true })
      expect(response.status).toBe(200)
      const events = (await response.text()).trim().split('\n\n')
      expect(JSON.parse(events.at(-1)!.slice('data: '.length))).toMatchObject({ error: { type: 'server_error' } })
      expect(events).toHaveLength(2)
      expect(failing.lines.at(-1)).toMatchObject({ status: 500, stream: true })
    }))
})

test('without keys nothing but health answers to another host name', async () => {
  const models = `${server.url}/v1/models`
  for (const host of ['evil.example', 'evil.example:8000', '10.0.0.1', '127.0.0.1.evil.example'])
    expect(await statusFor(models, host)).toBe(403)
  for (const host of ['localhost', 'LOCALHOST:8000', '127.0.0.1:1', '[::1]:8000']) expect(await statusFor(models, host)).toBe(200)
  expect(await statusFor(`${server.url}/health`, 'evil.example')).toBe(200)
})
