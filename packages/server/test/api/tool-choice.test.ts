import OpenAI from 'openai'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { Engine } from '../../src/engine/engine.js'
import type { EngineClient } from '../../src/engine/engine-client.js'
import { listen, type TestServer, tinyEngine, tokenizer } from './api-server.js'
import { tinyTokenizer } from './tiny-tokenizer.js'

const LOOK = '<tool_call>\n{"name": "look", "arguments": {"at": "Ulm"}}\n</tool_call>'
const TEXT = `Wait.${LOOK}\n${LOOK}\n`
const template = `{% if tools %}<tool_call>{% for tool in tools %}{{ tool.function.name }}{% endfor %}{% endif %}{% for message in messages %}{{ message['content'] }}{% endfor %}`
const messages = [{ role: 'user' as const, content: 'Where?' }]
const tools = [{ type: 'function' as const, function: { name: 'look' } }]
const body = { model: 'tiny', messages, tools, max_tokens: 200, logprobs: true }

let engine: Engine
let server: TestServer
let client: OpenAI
/** Of the last request. */
let prompt = ''
let made = 0
beforeAll(async () => {
  engine = await tinyEngine()
  const scripted: EngineClient = {
    limits: engine.limits,
    stats: () => engine.stats(),
    /** Writes two calls, whatever the prompt. */
    async *generate(request) {
      prompt = tokenizer.decode([...request.prompt])
      made = 0
      yield { type: 'started', cachedTokens: 0, queuedMilliseconds: 0 }
      for (const id of tokenizer.encode(TEXT)) {
        made++
        yield { type: 'token', id, logprob: -1, top: [] }
      }
      const usage = { promptTokens: request.prompt.length, cachedTokens: 0, completionTokens: made, activatedTokens: 1, visibleTokens: 1 }
      yield { type: 'end', reason: 'stop', usage }
    },
  }
  server = await listen(scripted, {}, tinyTokenizer(template))
  client = new OpenAI({ baseURL: `${server.url}/v1`, apiKey: 'none', maxRetries: 0 })
})
afterAll(async () => {
  await server.close()
  await engine.stop()
})

test('with tool_choice none the model is not shown the tools, and nothing is taken for a call', async () => {
  for (const given of [body, { ...body, tools: undefined }, { ...body, response_format: { type: 'json_object' as const } }]) {
    const { choices } = await client.chat.completions.create({ ...given, tool_choice: 'none' })
    expect(choices[0]).toMatchObject({ finish_reason: 'stop', message: { content: TEXT } })
    expect(choices[0].message.tool_calls).toBeUndefined()
    expect(prompt).toBe('Where?')
  }
  await client.chat.completions.create({ ...body, tool_choice: 'auto' })
  expect(prompt).toBe('<tool_call>lookWhere?')
})

test.each([
  [true, 2],
  [undefined, 2],
  [false, 1],
])('parallel_tool_calls %s: %i calls, whole and streamed, and no more is made', async (parallel_tool_calls, count) => {
  const { choices, usage } = await client.chat.completions.create({ ...body, parallel_tool_calls })
  const ids = [...tokenizer.encode(TEXT)]
  const expected = count === 2 ? ids.length : tokenizer.encode(`Wait.${LOOK}`).length
  expect([made, usage?.completion_tokens, choices[0].logprobs?.content?.length]).toEqual([expected, expected, expected])
  const call = { type: 'function', function: { name: 'look', arguments: '{"at":"Ulm"}' } }
  expect(choices[0]).toMatchObject({
    finish_reason: 'tool_calls',
    message: { content: 'Wait.', tool_calls: Array(count).fill(call) },
  })

  const stream = await client.chat.completions.create({ ...body, parallel_tool_calls, stream: true })
  const chunks: OpenAI.ChatCompletionChunk.Choice[] = []
  for await (const chunk of stream) chunks.push(...chunk.choices)
  expect(chunks.flatMap(({ delta }) => delta.tool_calls ?? [])).toMatchObject(
    Array.from({ length: count }, (_, index) => ({ index, ...call })),
  )
  expect(chunks.map(({ delta }) => delta.content ?? '').join('')).toBe('Wait.')
  expect(chunks.at(-1)?.finish_reason).toBe('tool_calls')
  expect(made).toBe(expected)
})
