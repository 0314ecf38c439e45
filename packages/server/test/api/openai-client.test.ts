import OpenAI, { APIUserAbortError, BadRequestError, NotFoundError } from 'openai'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { Engine } from '../../src/engine/engine.js'
import { listen, type TestServer, tinyEngine, tokenizer, until } from './api-server.js'

let engine: Engine
let server: TestServer
let client: OpenAI

beforeAll(async () => {
  engine = await tinyEngine()
  server = await listen(engine)
  client = new OpenAI({ baseURL: `${server.url}/v1`, apiKey: 'none', maxRetries: 0 })
})

afterAll(async () => {
  await server.close()
  await engine.stop()
})

const prompt = 'The fox saw grapes, ripe and high.'
const model = 'tiny'
const drawn = { model, prompt, max_tokens: 24, seed: 5 } as const

test('the model is listed', async () => {
  const { data } = await client.models.list()
  expect(data.map(({ id }) => id)).toEqual([model])
  expect((await client.models.retrieve(model)).id).toBe(model)
})

test('a completion, whole and as a stream, is the same text with the same usage', async () => {
  const whole = await client.completions.create(drawn)
  const { text, finish_reason } = whole.choices[0]
  expect(text.length).toBeGreaterThan(20)
  expect(finish_reason).toBe('length')
  const promptTokens = tokenizer.encode(prompt).length
  expect(whole.usage).toMatchObject({ prompt_tokens: promptTokens, completion_tokens: 24, total_tokens: promptTokens + 24 })

  let streamed = ''
  const usages: unknown[] = []
  for await (const chunk of await client.completions.create({ ...drawn, stream: true, stream_options: { include_usage: true } })) {
    streamed += chunk.choices[0]?.text ?? ''
    usages.push(chunk.usage)
  }
  expect(streamed).toBe(text)
  expect(usages.slice(0, -1).every((usage) => usage === null)).toBe(true)
  expect(usages.at(-1)).toMatchObject({ completion_tokens: 24, total_tokens: promptTokens + 24 })
})

test('a chat, whole and as a stream', async () => {
  const body = { model, messages: [{ role: 'user', content: prompt }], max_completion_tokens: 12, seed: 5 } as const
  const whole = await client.chat.completions.create({ ...body, messages: [...body.messages] })
  expect(whole.choices[0].message).toMatchObject({ role: 'assistant', refusal: null })
  const expected = tokenizer.encode(`<|im_start|>user\n${prompt}<|im_end|>\n<|im_start|>assistant\n`).length
  expect(whole.usage?.prompt_tokens).toBe(expected)

  let streamed = ''
  const roles: unknown[] = []
  let reason: unknown
  for await (const chunk of await client.chat.completions.create({ ...body, messages: [...body.messages], stream: true })) {
    const { delta, finish_reason } = chunk.choices[0]
    streamed += delta.content ?? ''
    if (delta.role) roles.push(delta.role)
    reason = finish_reason
  }
  expect(streamed).toBe(whole.choices[0].message.content)
  expect(roles).toEqual(['assistant'])
  expect(reason).toBe('length')
})

test('the conversation goes on with the answer as it came', async () => {
  const first = await client.chat.completions.create({ model, messages: [{ role: 'user', content: 'Hi' }], max_tokens: 4, seed: 1 })
  const messages: OpenAI.ChatCompletionMessageParam[] = [
    { role: 'developer', content: 'Be brief.' },
    { role: 'user', content: [{ type: 'text', text: 'Hi' }] },
    first.choices[0].message,
    { role: 'user', content: 'Again' },
  ]
  expect((await client.chat.completions.create({ model, messages, max_tokens: 4 })).choices).toHaveLength(1)
})

test('a seed gives the same text, choice i draws with seed + i, and best_of gives the likeliest', async () => {
  const { choices } = await client.completions.create({ ...drawn, n: 3 })
  expect(choices.map(({ index }) => index)).toEqual([0, 1, 2])
  expect(choices[0].text).toBe((await client.completions.create(drawn)).choices[0].text)
  expect(choices[2].text).toBe((await client.completions.create({ ...drawn, seed: 7 })).choices[0].text)
  expect(new Set(choices.map(({ text }) => text)).size).toBe(3)

  const all = await client.completions.create({ ...drawn, n: 3, logprobs: 0 })
  const mean = (values: (number | null)[] = []) => values.reduce<number>((sum, value) => sum + (value ?? 0), 0) / values.length
  const likeliest = all.choices.toSorted((a, b) => mean(b.logprobs?.token_logprobs) - mean(a.logprobs?.token_logprobs))[0].text
  const best = await client.completions.create({ ...drawn, best_of: 3 })
  expect(best.choices.map(({ text }) => text)).toEqual([likeliest])
  expect(best.usage?.completion_tokens).toBe(72)
})

test('several prompts, as texts or token ids, keep their order', async () => {
  const prompts = ['One fox', 'Two foxes ran']
  const texts = await client.completions.create({ model, prompt: prompts, max_tokens: 6, seed: 2, n: 2 })
  const ids = await client.completions.create({
    model,
    prompt: prompts.map((text) => Array.from(tokenizer.encode(text))),
    max_tokens: 6,
    seed: 2,
    n: 2,
  })
  expect(texts.choices.map(({ text }) => text)).toEqual(ids.choices.map(({ text }) => text))
  const alone = await client.completions.create({ model, prompt: prompts[1], max_tokens: 6, seed: 2 })
  expect(texts.choices[2].text).toBe(alone.choices[0].text)
  expect(texts.usage?.prompt_tokens).toBe(prompts.reduce((sum, text) => sum + tokenizer.encode(text).length, 0))
})

test('a stop string ends the text before it, whole and in a stream', async () => {
  const { text } = (await client.completions.create(drawn)).choices[0]
  const stop = text.slice(11, 15)
  const expected = text.slice(0, text.indexOf(stop))
  const whole = await client.completions.create({ ...drawn, stop: [stop, 'never written'] })
  expect(whole.choices[0]).toMatchObject({ text: expected, finish_reason: 'stop' })
  expect(whole.usage!.completion_tokens).toBeLessThan(24)
  // Cut short it cost what a text of that length costs.
  const as = await client.completions.create({ ...drawn, max_tokens: whole.usage!.completion_tokens })
  expect(whole.usage).toEqual(as.usage)
  let streamed = ''
  for await (const chunk of await client.completions.create({ ...drawn, stop, stream: true })) streamed += chunk.choices[0].text
  expect(streamed).toBe(expected)
})

test('echo with logprobs tells every token of prompt and answer, and where it begins', async () => {
  const { choices, usage } = await client.completions.create({ model, prompt, max_tokens: 3, seed: 5, echo: true, logprobs: 2 })
  const { text, logprobs } = choices[0]
  expect(text.startsWith(prompt)).toBe(true)
  const { tokens, token_logprobs, top_logprobs, text_offset } = logprobs!
  const promptTokens = tokenizer.encode(prompt).length
  expect([tokens!.length, token_logprobs!.length, top_logprobs!.length, text_offset!.length]).toEqual(Array(4).fill(promptTokens + 3))
  expect(token_logprobs![0]).toBeNull()
  expect(token_logprobs!.slice(1).every((value) => typeof value === 'number' && value < 0)).toBe(true)
  expect(tokens!.slice(0, promptTokens).join('')).toBe(prompt)
  for (const [index, offset] of text_offset!.slice(0, promptTokens).entries()) {
    expect(prompt.slice(offset).startsWith(tokens![index])).toBe(true)
  }
  expect(Object.keys(top_logprobs![1])).toHaveLength(2)
  expect(usage?.completion_tokens).toBe(3)

  // What evaluation harnesses ask for: the prompt alone.
  const alone = await client.completions.create({ model, prompt, max_tokens: 0, echo: true, logprobs: 2 })
  expect(alone.choices[0].text).toBe(prompt)
  expect(alone.choices[0].logprobs?.token_logprobs).toEqual(token_logprobs!.slice(0, promptTokens))
  expect(alone.usage?.completion_tokens).toBe(0)
})

test('a stream with echo and logprobs adds up to the whole answer', async () => {
  const body = { model, prompt, max_tokens: 8, seed: 5, echo: true, logprobs: 1 } as const
  const whole = (await client.completions.create(body)).choices[0]
  let text = ''
  const offsets: number[] = []
  const tokens: string[] = []
  for await (const { choices } of await client.completions.create({ ...body, stream: true })) {
    text += choices[0].text
    offsets.push(...(choices[0].logprobs?.text_offset ?? []))
    tokens.push(...(choices[0].logprobs?.tokens ?? []))
  }
  expect(text).toBe(whole.text)
  expect(offsets).toEqual(whole.logprobs!.text_offset)
  expect(tokens).toEqual(whole.logprobs!.tokens)
})

test('logprobs of a chat: as many of the likeliest as asked, with bytes', async () => {
  const { choices } = await client.chat.completions.create({
    model,
    messages: [{ role: 'user', content: prompt }],
    max_tokens: 5,
    temperature: 0,
    logprobs: true,
    top_logprobs: 3,
  })
  const content = choices[0].logprobs!.content!
  expect(content).toHaveLength(5)
  for (const { token, logprob, bytes, top_logprobs } of content) {
    expect(top_logprobs).toHaveLength(3)
    // Without temperature the likeliest is taken.
    expect(top_logprobs[0]).toEqual({ token, logprob, bytes })
    expect(bytes === null || new TextDecoder().decode(Uint8Array.from(bytes)) === token).toBe(true)
  }
})

test('the dial: topK and dense change what is attended to, and the usage says how much', async () => {
  const long = { model, prompt: 'A fox saw grapes. '.repeat(8), max_tokens: 4, seed: 1 }
  const usageOf = async (phsa?: object) => {
    const { usage } = await client.completions.create({ ...long, ...(phsa && { phsa }) } as OpenAI.CompletionCreateParamsNonStreaming)
    return (usage as unknown as { phsa: { activated_tokens: number; visible_tokens: number; sparsity: number } }).phsa
  }
  // Different attention shares no cached prompt: each counts from its own start.
  const one = await usageOf({ topK: 1 })
  const eight = await usageOf({ topK: 8 })
  const dense = await usageOf({ dense: true })
  expect(one.activated_tokens).toBeLessThan(eight.activated_tokens)
  expect(eight.activated_tokens).toBeLessThan(dense.activated_tokens)
  expect(dense).toMatchObject({ activated_tokens: dense.visible_tokens, sparsity: 0 })
  expect(one.sparsity).toBeCloseTo(1 - one.activated_tokens / one.visible_tokens, 10)
})

test('a prompt that came before is found in the cache', async () => {
  const long = { model, prompt: 'Grapes are sour, said the fox and left. '.repeat(5), max_tokens: 1 }
  const cached = async () => (await client.completions.create(long)).usage?.prompt_tokens_details?.cached_tokens
  expect(await cached()).toBe(0)
  expect(await cached()).toBeGreaterThanOrEqual(64)
})

test('a client that leaves ends the work: no pages are held, and the log says so', async () => {
  const stream = await client.completions.create({
    model,
    prompt,
    max_tokens: 200,
    ignore_eos: true,
    stream: true,
  } as OpenAI.CompletionCreateParamsStreaming)
  for await (const _ of stream) break
  await until(async () => (await engine.stats()).running === 0)
  const abort = new AbortController()
  const whole = client.completions.create(
    { model, prompt, max_tokens: 200, ignore_eos: true } as OpenAI.CompletionCreateParamsNonStreaming,
    { signal: abort.signal },
  )
  await until(async () => (await engine.stats()).running > 0)
  abort.abort()
  await expect(whole).rejects.toThrow(APIUserAbortError)
  await until(async () => (await engine.stats()).running === 0)
  expect((await engine.stats()).pagesUsed).toBe(0)
  await until(() => server.lines.filter(({ status }) => status === 499).length === 2)
})

test('errors arrive as the classes of the client', async () => {
  await expect(client.completions.create({ ...drawn, model: 'other' })).rejects.toThrow(NotFoundError)
  const long = client.completions.create({ ...drawn, max_tokens: 1000 })
  await expect(long).rejects.toThrow(BadRequestError)
  await expect(long).rejects.toMatchObject({ param: 'max_tokens', code: 'context_length_exceeded' })
  await expect(client.embeddings.create({ model, input: 'a' })).rejects.toMatchObject({ status: 400, code: 'unsupported' })
})
