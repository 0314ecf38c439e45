import { afterAll, beforeAll, expect, test } from 'vitest'
import type { Engine } from '../../src/engine/engine.js'
import { listen, post, type TestServer, tinyEngine, tokenizer } from './api-server.js'

// What the models local-completions and local-chat-completions of lm-evaluation-harness send, and how they read the answers.

interface Choice {
  readonly index: number
  readonly text: string
  readonly finish_reason: string
  readonly logprobs: { readonly token_logprobs: (number | null)[]; readonly top_logprobs: (Record<string, number> | null)[] }
}

let engine: Engine
let server: TestServer
beforeAll(async () => {
  engine = await tinyEngine()
  // Every second token ends a text, so that some of the drawn ones do.
  server = await listen(engine, { stopTokenIds: Array.from({ length: tokenizer.vocabSize / 2 }, (_, index) => index * 2) })
})
afterAll(async () => {
  await server.close()
  await engine.stop()
})

async function completions(body: object): Promise<Choice[]> {
  const response = await post(`${server.url}/v1/completions`, { model: 'tiny', ...body }, { authorization: 'Bearer ' })
  expect(response.status).toBe(200)
  return ((await response.json()) as { choices: Choice[] }).choices
}

/** As its parser has it: the last entry is the token that had to be made, those before `context` are not asked for. */
function likelihood({ logprobs }: Choice, context: number) {
  const own = logprobs.token_logprobs.slice(context, -1)
  const top = logprobs.top_logprobs.slice(context, -1)
  return {
    count: own.length,
    sum: own.reduce<number>((sum, value) => sum + value!, 0),
    isGreedy: own.every((value, index) => value === Math.max(...Object.values(top[index]!))),
  }
}

const likelihoods = { temperature: 0, max_tokens: 1, logprobs: 1, seed: 1234, echo: true }

test('likelihoods of token ids, in batches of prompts of several lengths', async () => {
  const texts = ['the ox and the fox', 'a', 'Emma Woodhouse, handsome, clever', 'rich']
  const prompt = texts.map((text) => Array.from(tokenizer.encode(text)))
  prompt[1].push(...tokenizer.encode('bc'))
  const choices = await completions({ prompt, ...likelihoods })
  expect(choices.map(({ index }) => index)).toEqual([0, 1, 2, 3])
  // Ended or not: the one token that is made is among them.
  expect(new Set(choices.map(({ finish_reason }) => finish_reason))).toEqual(new Set(['stop', 'length']))
  for (const [index, choice] of choices.entries()) {
    expect(likelihood(choice, 1).count).toBe(prompt[index].length - 1)
    expect(likelihood(choice, 2).sum).toBeLessThan(0)
    expect(choice.logprobs.top_logprobs[0]).toBeNull()
    const [alone] = await completions({ prompt: [prompt[index]], ...likelihoods })
    expect(likelihood(alone, 1)).toEqual(likelihood(choice, 1))
  }
})

test('likelihoods of texts; the likeliest continuation is known as greedy', async () => {
  const [{ text }] = await completions({ prompt: 'the fox', ...likelihoods, ignore_eos: true })
  const context = tokenizer.encode('the fox').length
  const made = Array.from(tokenizer.encode(text)).slice(context)
  if (made.length === 1) expect(likelihood((await completions({ prompt: text, ...likelihoods }))[0], context).isGreedy).toBe(true)
  const unlikely = await Promise.all(
    ['a', 'b', 'c'].map(async (next) => (await completions({ prompt: `the fox${next}`, ...likelihoods }))[0]),
  )
  expect(unlikely.some((choice) => !likelihood(choice, context).isGreedy)).toBe(true)
})

test('generations, tokenized and not, with its stop lists', async () => {
  const generation = { max_tokens: 6, temperature: 0, seed: 1234 }
  const ids = Array.from(tokenizer.encode('Q: 1'))
  const batch = await completions({ prompt: [ids, ids.slice(1)], stop: ['\n\n', '<|endoftext|>'], ...generation, top_p: 0.9 })
  expect(batch.map(({ text }) => typeof text)).toEqual(['string', 'string'])
  const [alone] = await completions({ prompt: 'Q: 1', stop: [], ...generation })
  expect(alone.text).toBe(batch[0].text)
})

test('chats, whose messages say that they are text', async () => {
  const messages = [
    { role: 'system', content: 'Answer.', type: 'text' },
    { role: 'user', content: 'Q: 1', type: 'text' },
  ]
  const body = { messages, model: 'tiny', max_tokens: 6, temperature: 0, stop: ['Q:', '<|im_end|>'], seed: 1234 }
  const response = await post(`${server.url}/v1/chat/completions`, body)
  expect(response.status).toBe(200)
  const { choices } = (await response.json()) as { choices: { index: number; message: { content: string } }[] }
  expect(choices).toMatchObject([{ index: 0, message: { content: expect.any(String) } }])
})
