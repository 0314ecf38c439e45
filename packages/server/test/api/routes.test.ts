import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Engine } from '../../src/engine/engine.js'
import { listen, post, type TestServer, tinyEngine, tokenizer } from './api-server.js'
import { tinyTokenizer } from './tiny-tokenizer.js'

let engine: Engine
let server: TestServer

beforeAll(async () => {
  engine = await tinyEngine()
  server = await listen(engine)
})

afterAll(async () => {
  await server.close()
  await engine.stop()
})

const secret = 'zebras never sing'

test('tokenize and detokenize are each other’s way back, also for conversations', async () => {
  const prompt = 'the fox — é 🙂'
  const { tokens, count, max_model_len } = await (await post(`${server.url}/tokenize`, { prompt })).json()
  expect(tokens).toEqual(Array.from(tokenizer.encode(prompt)))
  expect([count, max_model_len]).toEqual([tokens.length, 256])
  expect(await (await post(`${server.url}/detokenize`, { tokens })).json()).toEqual({ prompt })

  const chat = await (
    await post(`${server.url}/tokenize`, { messages: [{ role: 'user', content: 'a' }], add_generation_prompt: false })
  ).json()
  expect(tokenizer.decode(chat.tokens)).toBe('<|im_start|>user\na<|im_end|>\n')
  expect((await post(`${server.url}/detokenize`, { tokens: [99_999] })).status).toBe(400)
  expect((await post(`${server.url}/tokenize`, { prompt, messages: [] })).status).toBe(400)
})

test('metrics count what was made', async () => {
  const value = async (name: string, labels = '') => {
    const text = await (await fetch(`${server.url}/metrics`)).text()
    const line = text.split('\n').find((entry) => entry.startsWith(`phsa:${name}{`) && entry.includes(labels))
    return line === undefined ? undefined : Number(line.split(' ').at(-1))
  }
  const before = (await value('generation_tokens_total')) ?? 0
  await (await post(`${server.url}/v1/completions`, { prompt: 'the fox', max_tokens: 5, ignore_eos: true, stream: true })).text()
  expect(await value('generation_tokens_total')).toBe(before + 5)
  expect(await value('time_to_first_token_seconds_count')).toBeGreaterThanOrEqual(1)
  expect(await value('inter_token_latency_seconds_count')).toBeGreaterThanOrEqual(4)
  expect(await value('request_success_total', 'finished_reason="length"')).toBeGreaterThanOrEqual(1)
  expect(await value('http_requests_total', 'route="/v1/completions",status="200"')).toBeGreaterThanOrEqual(1)
  await fetch(`${server.url}/health`)
  expect(await value('http_requests_total', 'route="/health",status="200"')).toBeGreaterThanOrEqual(1)
  expect(await value('num_requests_running')).toBe(0)
  expect(await value('num_requests_waiting')).toBe(0)
  expect(await value('kv_cache_usage_perc')).toBe(0)
  expect(await value('prompt_tokens_total')).toBeGreaterThan(0)
  expect(await value('activated_tokens_total')).toBeGreaterThan(0)
})

test('the OpenAPI document describes every route, and bodies by the schemas that check them', async () => {
  const document = await (await fetch(`${server.url}/openapi.json`)).json()
  expect(document.openapi).toBe('3.1.0')
  expect(Object.keys(document.paths)).toEqual(
    expect.arrayContaining(['/v1/models', '/v1/completions', '/v1/chat/completions', '/tokenize', '/metrics']),
  )
  const body = document.paths['/v1/completions'].post.requestBody.content['application/json'].schema
  expect(body).toMatchObject({ type: 'object', additionalProperties: false, required: ['prompt'] })
  expect(body.properties.prompt.anyOf).toHaveLength(4)
  expect(Object.keys(body.properties.phsa.anyOf[0].properties)).toEqual(['topK', 'dense'])
  expect(body.properties.suffix.description).toMatch(/^Refused/)
  // What is described is there: nothing answers with 404.
  for (const [path, methods] of Object.entries<Record<string, unknown>>(document.paths)) {
    for (const method of Object.keys(methods)) {
      const response = await fetch(server.url + path.replace('{name}', 'tiny'), { method: method.toUpperCase() })
      expect([path, response.status]).not.toEqual([path, 404])
    }
  }
})

test('a request id is taken or made, and stands in answer and log', async () => {
  const named = await post(`${server.url}/v1/completions`, { prompt: 'a', max_tokens: 1 }, { 'x-request-id': 'trace-7' })
  expect(named.headers.get('x-request-id')).toBe('trace-7')
  expect((await named.json()).id).toBe('cmpl-trace-7')
  expect(server.lines.at(-1)).toMatchObject({
    requestId: 'trace-7',
    route: '/v1/completions',
    status: 200,
    promptTokens: 1,
    completionTokens: 1,
  })
  const bad = await post(`${server.url}/v1/completions`, { prompt: 'a', max_tokens: 1 }, { 'x-request-id': 'a b"\\' })
  expect(bad.headers.get('x-request-id')).toMatch(/^[0-9a-f-]{36}$/)
})

test('no log line has text of a request, right or wrong', async () => {
  const bodies = [
    { prompt: secret, max_tokens: 1 },
    { prompt: secret, max_tokens: 1, stream: true, stop: secret },
    { prompt: secret, temperature: secret },
    { prompt: secret.repeat(50) },
    { prompt: secret, model: secret },
    { messages: [{ role: secret, content: secret }] },
    { messages: [{ role: 'user', content: secret }], max_tokens: 1 },
  ]
  for (const body of bodies) {
    for (const path of [
      '/v1/completions',
      '/v1/chat/completions',
      '/tokenize',
      `/v1/models/${encodeURIComponent(secret)}`,
      `/${encodeURIComponent(secret)}`,
    ]) {
      await (await post(server.url + path, body)).text()
    }
  }
  await fetch(`${server.url}/v1/completions`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: `{${secret}` })
  expect(server.lines.length).toBeGreaterThan(30)
  expect(JSON.stringify(server.lines)).not.toContain('zebra')
})

test('without allowed origins there are no CORS headers; with them only these get some', async () => {
  const origin = { origin: 'https://example.com' }
  expect((await fetch(`${server.url}/health`, { headers: origin })).headers.get('access-control-allow-origin')).toBeNull()
  const open = await listen(engine, { allowedOrigins: ['https://example.com'], keys: [{ name: 'a', sha256: 'a'.repeat(64) }] })
  const preflight = await fetch(`${open.url}/v1/completions`, {
    method: 'OPTIONS',
    headers: { ...origin, 'access-control-request-method': 'POST' },
  })
  expect([preflight.status, preflight.headers.get('access-control-allow-origin')]).toEqual([204, 'https://example.com'])
  const other = await fetch(`${open.url}/health`, { headers: { origin: 'https://other.example' } })
  expect(other.headers.get('access-control-allow-origin')).toBeNull()
  await open.close()
})

describe('chat templates', () => {
  async function promptOf(template: string, body: object): Promise<{ status: number; text: string }> {
    const served = tinyTokenizer(template)
    const own = await listen(engine, {}, served)
    try {
      const response = await post(`${own.url}/tokenize`, body)
      const { tokens, error } = await response.json()
      return { status: response.status, text: tokens ? served.decode(tokens) : error.message }
    } finally {
      await own.close()
    }
  }
  const tool = { type: 'function', function: { name: 'weather', parameters: { type: 'object' } } }
  const knowing =
    '{# <tool_call> #}{% for tool in tools %}[{{ tool.function.name }}]{% endfor %}{% if not thinking %}no{% endif %}{% for m in messages %}{{ m.role }}:{{ m.content }}{% if m.tool_calls %}{% for call in m.tool_calls %}({{ call.function.arguments | tojson }}){% endfor %}{% endif %};{% endfor %}'

  test('tools and variables reach a template that knows them, with calls and their results', async () => {
    const call = { id: 'c', type: 'function', function: { name: 'weather', arguments: '{"place":"Ulm"}' } }
    const messages = [
      { role: 'user', content: 'rain?' },
      { role: 'assistant', content: null, tool_calls: [call] },
      { role: 'tool', tool_call_id: 'c', content: 'yes' },
    ]
    const { text } = await promptOf(knowing, { messages, tools: [tool], chat_template_kwargs: { thinking: false } })
    expect(text).toBe('[weather]nouser:rain?;assistant:({"place": "Ulm"});tool:yes;')
    const otherForm = knowing.replace('<tool_call>', '[TOOL_CALLS]')
    expect((await promptOf(otherForm, { messages, tools: [tool] })).text).toContain('a form that is not parsed')
    const broken = { ...call, function: { name: 'weather', arguments: '{' } }
    expect((await promptOf(knowing, { messages: [{ role: 'assistant', tool_calls: [broken] }], tools: [tool] })).status).toBe(400)
  })

  test('an empty list of calls is none, also for a template without tools', async () => {
    const plain = '{% for m in messages %}{{ m.role }}:{{ m.content }};{% endfor %}'
    const messages = [{ role: 'assistant', content: 'rain', tool_calls: [] }]
    expect(await promptOf(plain, { messages })).toEqual({ status: 200, text: 'assistant:rain;' })
  })

  test('a template that refuses the messages is the request’s fault', async () => {
    expect((await promptOf("{{ raise_exception('no system') }}", { messages: [{ role: 'system', content: 'a' }] })).status).toBe(400)
  })
})
