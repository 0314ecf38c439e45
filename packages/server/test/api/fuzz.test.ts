import fc from 'fast-check'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { Engine } from '../../src/engine/engine.js'
import { listen, type TestServer, tinyEngine } from './api-server.js'

let engine: Engine
let server: TestServer

beforeAll(async () => {
  engine = await tinyEngine()
  server = await listen(engine, { maxBodyBytes: 50_000 })
})

afterAll(async () => {
  await server.close()
  await engine.stop()
})

const anything = fc.oneof(fc.jsonValue({ maxDepth: 3 }), fc.string({ unit: 'binary' }), fc.integer(), fc.constant(null))
const words = fc.string({ unit: 'binary', minLength: 1, maxLength: 20 })
const ids = fc.array(fc.nat(263), { minLength: 1, maxLength: 20 })
const double = (min: number, max: number) => fc.double({ min, max, noNaN: true })
const message = fc.record({ role: fc.constantFrom('user', 'assistant', 'system'), content: words })

/** What both ways of generating take. */
const sampling = {
  temperature: double(0, 2),
  top_p: double(0.01, 1),
  top_k: fc.integer({ min: -1, max: 400 }),
  min_p: double(0, 1),
  presence_penalty: double(-2, 2),
  frequency_penalty: double(-2, 2),
  repetition_penalty: double(0.01, 10),
  logit_bias: fc.dictionary(fc.nat(263).map(String), fc.integer({ min: -100, max: 100 })),
  stop: fc.oneof(words, fc.array(words, { maxLength: 4 })),
  stop_token_ids: fc.array(fc.nat(263), { maxLength: 3 }),
  seed: fc.nat(),
  n: fc.integer({ min: 1, max: 3 }),
  stream: fc.boolean(),
  max_tokens: fc.integer({ min: 1, max: 4 }),
  phsa: fc.oneof(fc.record({ topK: fc.integer({ min: 0, max: 8 }) }), fc.record({ dense: fc.boolean() })),
  user: words,
}
const completion = { ...sampling, echo: fc.boolean(), logprobs: fc.integer({ min: 0, max: 5 }), best_of: fc.integer({ min: 1, max: 3 }) }
const chat = { ...sampling, logprobs: fc.boolean(), max_tokens: fc.constant(null), max_completion_tokens: fc.integer({ min: 1, max: 4 }) }

/** A body that is right or nearly so: what is needed, some of what may be, and now and then a field that is anything. */
function bodies(needed: Record<string, fc.Arbitrary<unknown>>, possible: Record<string, fc.Arbitrary<unknown>>): fc.Arbitrary<unknown> {
  const names = [
    ...Object.keys(needed),
    ...Object.keys(possible),
    'tools',
    'response_format',
    'suffix',
    'chat_template_kwargs',
    '__proto__',
  ]
  const some = fc
    .subarray(Object.keys(possible), { maxLength: 5 })
    .chain((chosen) => fc.record(Object.fromEntries(chosen.map((name) => [name, possible[name]]))))
  const wrong = fc.oneof(
    { weight: 2, arbitrary: fc.constant({}) },
    { weight: 1, arbitrary: fc.dictionary(fc.constantFrom(...names), anything, { maxKeys: 1 }) },
  )
  return fc.tuple(fc.record(needed), some, wrong).map(([first, second, third]) => ({ max_tokens: 2, ...first, ...second, ...third }))
}

const right = fc.oneof(
  fc.record({
    path: fc.constant('/v1/completions'),
    body: bodies(
      { prompt: fc.oneof(words, ids, fc.array(words, { minLength: 1, maxLength: 3 }), fc.array(ids, { minLength: 1, maxLength: 2 })) },
      completion,
    ),
  }),
  fc.record({
    path: fc.constant('/v1/chat/completions'),
    body: bodies({ messages: fc.array(message, { minLength: 1, maxLength: 3 }) }, chat),
  }),
)
const other = fc.record({
  path: fc.constantFrom('/v1/completions', '/v1/chat/completions', '/tokenize', '/detokenize', '/v1/embeddings', '/nothing'),
  body: fc.oneof(anything, fc.record({ prompt: words }), fc.record({ tokens: ids }), fc.record({ tokens: anything })),
})
const request = fc.record({
  call: fc.oneof({ weight: 3, arbitrary: right }, { weight: 1, arbitrary: other }),
  bytes: fc.oneof({ weight: 19, arbitrary: fc.constant(undefined) }, { weight: 1, arbitrary: fc.uint8Array({ maxLength: 200 }) }),
  type: fc.oneof(
    { weight: 19, arbitrary: fc.constant('application/json') },
    { weight: 1, arbitrary: fc.constantFrom('text/plain', 'application/json; charset=x', 'a') },
  ),
  id: fc.string({ unit: fc.constantFrom('a', ' ', '"', '\t', '~', 'é'), maxLength: 200 }),
})

test('no body and no header makes the server fail, and nothing is left behind', async () => {
  const statuses = new Map([[200, 0]])
  await fc.assert(
    fc.asyncProperty(request, async ({ call: { path, body: json }, bytes, type, id }) => {
      const body = bytes ?? JSON.stringify(json)
      const headers = { 'content-type': type, 'x-request-id': id }
      const response = await fetch(server.url + path, { method: 'POST', headers, body: body as BodyInit })
      const text = await response.text()
      statuses.set(response.status, (statuses.get(response.status) ?? 0) + 1)
      expect(response.status, `${path} ${body} ${text} ${server.lines.at(-1)?.reason}`).toBeLessThan(500)
      if (response.headers.get('content-type')?.startsWith('text/event-stream')) expect(text.endsWith('data: [DONE]\n\n'), text).toBe(true)
      else expect(response.status === 200 || typeof JSON.parse(text).error.message === 'string').toBe(true)
    }),
    { numRuns: Number(process.env.PHSA_FUZZ_REQUESTS ?? 200) },
  )
  // Otherwise the bodies are too wrong to try anything.
  expect(statuses.get(200)).toBeGreaterThan(50)
  expect((await engine.stats()).running).toBe(0)
  expect((await engine.stats()).pagesUsed).toBe(0)
})
