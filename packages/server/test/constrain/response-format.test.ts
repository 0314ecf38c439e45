import OpenAI from 'openai'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { Engine } from '../../src/engine/engine.js'
import { listen, post, type TestServer, tinyEngine, tokenizer } from '../api/api-server.js'
import { tinyTokenizer } from '../api/tiny-tokenizer.js'
import { LocalConstraints } from './local-constraints.js'
import { matchesSchema } from './matches-schema.js'

const schema = {
  type: 'object',
  properties: {
    found: { type: 'boolean' },
    kind: { enum: ['fox', 'the ox'] },
    legs: { type: ['integer', 'null'] },
    parts: { type: 'array', items: { const: 'é' }, maxItems: 2 },
  },
  required: ['found', 'legs'],
  additionalProperties: false,
}
const response_format = { type: 'json_schema', json_schema: { name: 'animal', schema, strict: true } } as const
const messages = [{ role: 'user' as const, content: 'Which animal?' }]
/** A template that knows tools, as Qwen's does. */
const template = `{% if tools %}<tool_call>{% for tool in tools %}{{ tool.function.name }}{% endfor %}{% endif %}{% for message in messages %}{{ message['content'] }}{% endfor %}`

let constraints: LocalConstraints
let engine: Engine
let server: TestServer
let client: OpenAI
beforeAll(async () => {
  constraints = await LocalConstraints.create(tokenizer.json, tokenizer.vocabSize)
  engine = await tinyEngine({ constraints })
  server = await listen(engine, { stopTokenIds: [tokenizer.eosTokenId!] }, tinyTokenizer(template))
  client = new OpenAI({ baseURL: `${server.url}/v1`, apiKey: 'none', maxRetries: 0 })
})
afterAll(async () => {
  await server.close()
  await engine.stop()
  expect(constraints.openTexts).toBe(0)
})

test('every text of a schema that ends by itself is JSON of it, at temperature 1 and with many choices', async () => {
  const answers = await Promise.all(
    [0, 100, 200].map((seed) =>
      client.chat.completions.create({ model: 'tiny', messages, response_format, temperature: 1, seed, n: 16, max_tokens: 150 }),
    ),
  )
  const choices = answers.flatMap((answer) => answer.choices)
  const finished = choices.filter((choice) => choice.finish_reason === 'stop')
  expect(finished.length).toBeGreaterThan(40)
  for (const { message } of finished) expect(matchesSchema(JSON.parse(message.content!), schema), message.content!).toBe(true)
  expect(new Set(finished.map(({ message }) => message.content)).size).toBeGreaterThan(10)
})

test('streams, likeliest tokens, penalties and log-probabilities are constrained too; choice 0 is the text alone', async () => {
  const body = { model: 'tiny', messages, response_format, seed: 7, max_tokens: 150, logprobs: true, presence_penalty: 0.5 }
  const whole = await client.chat.completions.create({ ...body, n: 2 })
  const stream = await client.chat.completions.create({ ...body, stream: true })
  let text = ''
  for await (const chunk of stream) text += chunk.choices[0]?.delta.content ?? ''
  expect(text).toBe(whole.choices[0].message.content)
  expect(matchesSchema(JSON.parse(text), schema)).toBe(true)
  expect(whole.choices[0].logprobs!.content!.length).toBeGreaterThan(10)
  const greedy = await client.chat.completions.create({ model: 'tiny', messages, response_format, temperature: 0, max_tokens: 150 })
  expect(greedy.choices[0].finish_reason === 'length' || matchesSchema(JSON.parse(greedy.choices[0].message.content!), schema)).toBe(true)
})

test('json_object gives an object; completions take a response_format', async () => {
  const response = await post(`${server.url}/v1/completions`, {
    prompt: ['a', 'b'],
    n: 8,
    seed: 1,
    max_tokens: 100,
    response_format: { type: 'json_object' },
  })
  const { choices } = (await response.json()) as { choices: { text: string; finish_reason: string }[] }
  expect(choices.length).toBe(16)
  for (const { text, finish_reason } of choices) {
    expect(text.startsWith('{')).toBe(true)
    if (finish_reason === 'stop') expect(matchesSchema(JSON.parse(text), { type: 'object' })).toBe(true)
  }
})

test('what cuts a text is told: length, and stop strings', async () => {
  const cut = await client.chat.completions.create({ model: 'tiny', messages, response_format, seed: 1, max_tokens: 5 })
  expect(cut.choices[0].finish_reason).toBe('length')
  expect(cut.choices[0].message.content).toBe('{"fou')
  const stopped = await client.chat.completions.create({ model: 'tiny', messages, response_format, seed: 1, stop: '": ' })
  expect(stopped.choices[0].message.content).toBe('{"found')
})

test('tool_choice forces one call of a tool, with arguments of its schema', async () => {
  const tools = ['look', 'listen'].map((name) => ({ type: 'function' as const, function: { name, parameters: schema } }))
  const required = await client.chat.completions.create({
    model: 'tiny',
    messages,
    tools,
    tool_choice: 'required',
    seed: 3,
    n: 8,
    max_tokens: 200,
  })
  const named = await client.chat.completions.create({
    model: 'tiny',
    messages,
    tools,
    tool_choice: { type: 'function', function: { name: 'listen' } },
    seed: 3,
    n: 4,
    max_tokens: 200,
  })
  const single = await client.chat.completions.create({
    model: 'tiny',
    messages,
    tools,
    tool_choice: 'required',
    parallel_tool_calls: false,
    seed: 3,
    n: 2,
    max_tokens: 200,
  })
  const called = ({ choices }: typeof required) =>
    choices.map(({ finish_reason, message }) => [
      finish_reason,
      message.tool_calls?.map((call) => call.type === 'function' && call.function),
    ])
  expect(called(single)).toEqual(called(required).slice(0, 2))
  const calls = [...required.choices, ...named.choices]
    .filter((choice) => choice.finish_reason === 'tool_calls')
    .map(({ message }) => message.tool_calls!)
  expect(calls.length).toBeGreaterThan(8)
  for (const [call, ...others] of calls) {
    if (call.type !== 'function') throw new Error('no function')
    expect(others).toEqual([])
    expect(matchesSchema(JSON.parse(call.function.arguments), schema)).toBe(true)
  }
  const names = named.choices
    .flatMap(({ message }) => message.tool_calls ?? [])
    .map((call) => call.type === 'function' && call.function.name)
  expect(new Set(names)).toEqual(new Set(['listen']))
})

const bad = (schema: object) => ({ messages, response_format: { type: 'json_schema', json_schema: { name: 'x', schema } } })
const look = {
  type: 'function',
  function: { name: 'look', parameters: { type: 'object', properties: { at: { type: 'string', pattern: 'x' } } } },
}
test.each<[string, object]>([
  [
    'response_format.json_schema.schema.properties.a.multipleOf',
    bad({ type: 'object', properties: { a: { type: 'integer', multipleOf: 3 } } }),
  ],
  ['response_format.type', { messages, response_format: { type: 'grammar' } }],
  ['ignore_eos', { ...bad({}), ignore_eos: true }],
  ['response_format', { ...bad({}), tools: [look] }],
  ['tools[0].function.parameters.properties.at.pattern', { messages, tools: [look], tool_choice: 'required' }],
  ['tool_choice', { messages, tools: [look], tool_choice: { type: 'function', function: { name: 'listen' } } }],
  ['tool_choice', { messages, tool_choice: 'required' }],
  ['tool_choice', { messages, tools: [look], tool_choice: 'any' }],
])('%s is refused by its name', async (param, body) => {
  const response = await post(`${server.url}/v1/chat/completions`, body)
  expect(response.status).toBe(400)
  expect(((await response.json()) as { error: { param: string } }).error.param).toBe(param)
})

test('more constrained texts than are ever opened at once are no full queue, but a mistake', async () => {
  const body = { prompt: Array(5).fill('a'), n: 13, max_tokens: 1, response_format: { type: 'json_object' } }
  const response = await post(`${server.url}/v1/completions`, body)
  expect([response.status, (await response.json()).error]).toEqual([
    400,
    expect.objectContaining({ param: 'n', message: expect.stringContaining('65 constrained texts') }),
  ])
})

test('a request whose grammars fail ends, and others go on', async () => {
  const own = await LocalConstraints.create(tokenizer.json, tokenizer.vocabSize)
  const failing = await tinyEngine({ constraints: own })
  const other = await listen(failing, { stopTokenIds: [tokenizer.eosTokenId!] })
  own.fail(new Error('the thread of grammars has ended.'))
  expect((await post(`${other.url}/v1/chat/completions`, { messages, response_format })).status).toBe(500)
  expect((await post(`${other.url}/v1/completions`, { prompt: 'a', max_tokens: 2 })).status).toBe(200)
  expect((await failing.stats()).pagesUsed).toBe(0)
  await other.close()
  await failing.stop()
})

test('an engine without constraints refuses', async () => {
  const plain = await tinyEngine()
  const other = await listen(plain)
  expect((await post(`${other.url}/v1/chat/completions`, { messages, response_format })).status).toBe(400)
  await other.close()
  await plain.stop()
})
