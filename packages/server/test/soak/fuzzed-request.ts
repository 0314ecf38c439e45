import type { RandomStream } from '@phsa/core'

/** A request as a broken or hostile client might send it. */
export interface FuzzedRequest {
  readonly method: string
  readonly path: string
  readonly headers: Readonly<Record<string, string>>
  readonly body: Uint8Array<ArrayBuffer> | undefined
  /** The whole request as bytes, where some of them are damaged: then these are sent. */
  readonly raw?: Uint8Array<ArrayBuffer>
}

const STRANGE_PATHS = [
  '/v1/models/%00',
  '/v1/models/..%2f..',
  '/%',
  '//',
  '/v1',
  '/metrics?x=%ff',
  '/v1/completions/',
  `/${'x'.repeat(4000)}`,
]
const SAMPLING = {
  temperature: 1,
  seed: 1,
  stop: ['x'],
  n: 2,
  logit_bias: { 5: 1 },
  phsa: { topK: 1 },
  top_p: 0.5,
  user: 'u',
  stream: false,
}
const MESSAGES = [{ role: 'user', content: 'a' }]
const SCHEMA = { type: 'object', properties: { a: { enum: ['x', 'é'] }, b: { type: 'array', items: { $ref: '#' }, maxItems: 2 } } }
const FORMAT = { type: 'json_schema', json_schema: { name: 'x', schema: SCHEMA } }
/** By path: what every body has, and what it may have. */
const VALID: Readonly<Record<string, readonly [Readonly<Record<string, unknown>>, Readonly<Record<string, unknown>>]>> = {
  '/v1/completions': [
    { prompt: 'a', max_tokens: 2 },
    { ...SAMPLING, echo: true, logprobs: 1, best_of: 2, response_format: FORMAT },
  ],
  '/v1/chat/completions': [
    { messages: MESSAGES, max_tokens: 2 },
    { ...SAMPLING, logprobs: true, top_logprobs: 1, response_format: FORMAT, tools: [{ type: 'function', function: { name: 'f' } }] },
  ],
  '/tokenize': [{ prompt: 'a' }, { add_special_tokens: false }],
  '/detokenize': [{ tokens: [1, 2] }, { model: 'other' }],
  '/v1/embeddings': [{ input: 'a' }, {}],
}
const PATHS = Object.keys(VALID)
const STRANGE_TEXTS = [
  '',
  '\0',
  '\ud800',
  '\u202e',
  '💥'.repeat(50),
  '<|im_end|>',
  '{{ 1 }}{% for %}',
  '__proto__',
  'constructor',
  '\r\n\r\n',
  'x'.repeat(20_000),
]
const STRANGE_NUMBERS = [-1, 0, 0.5, 1e308, -0, 2 ** 31, 2 ** 53, 1e-320, 257, 1_000_000]

/** Half of them are nearly right, because those come furthest. */
export function fuzzedRequest(random: RandomStream): FuzzedRequest {
  const pick = <T>(values: readonly T[]): T => values[random.below(values.length)]
  const method = random.below(12) === 0 ? pick(['GET', 'PUT', 'DELETE', 'OPTIONS', 'HEAD', 'PATCH']) : 'POST'
  const path = random.below(12) === 0 ? pick(STRANGE_PATHS) : pick(PATHS)
  const headers: Record<string, string> = {
    'content-type': random.below(12) === 0 ? pick(['text/plain', '', 'application/json; charset=latin1']) : 'application/json',
  }
  if (random.below(8) === 0) headers['x-request-id'] = pick(['a b', '<script>', 'x'.repeat(5000), 'é'.replace('é', 'e%00')])
  if (random.below(8) === 0) headers.authorization = pick(['Bearer', 'Bearer  x y', 'Basic eDp5', 'Bearer '.repeat(100).trim()])
  if (random.below(20) === 0) headers['content-encoding'] = pick(['gzip', 'br', 'nonsense'])
  const request = { method, path, headers, body: method === 'GET' || method === 'HEAD' ? undefined : bodyOf(random, path) }
  return random.below(10) === 0 ? { ...request, raw: damagedBytes(random, request) } : request
}

/** Now and then a length that is wrong, a header that is there twice, and a few other bytes anywhere. */
function damagedBytes(random: RandomStream, { method, path, headers, body }: FuzzedRequest): Uint8Array<ArrayBuffer> {
  const length = (body?.length ?? 0) + (random.below(4) === 0 ? random.below(9) - 4 : 0)
  const lines = [
    `${method} ${path} HTTP/1.1`,
    'host: localhost',
    ...Object.entries(headers).map(([name, value]) => `${name}: ${value}`),
    ...(body ? [`content-length: ${length}`] : []),
    ...(random.below(6) === 0 ? ['transfer-encoding: chunked', 'host: example.org', 'content-type: text/html'].slice(random.below(3)) : []),
  ]
  const bytes = Buffer.concat([Buffer.from(`${lines.join('\r\n')}\r\n\r\n`, 'latin1'), body ?? new Uint8Array()])
  for (let count = random.below(4); count > 0; count--) bytes[random.below(bytes.length)] = random.below(256)
  return new Uint8Array(bytes)
}

function bodyOf(random: RandomStream, path: string): Uint8Array<ArrayBuffer> {
  const bytes = new TextEncoder().encode(text(random, path))
  if (random.below(6) > 0) return bytes
  const damaged = bytes.slice(0, random.below(2) === 0 ? bytes.length : random.below(bytes.length + 1))
  for (let count = random.below(4); count >= 0 && damaged.length > 0; count--) damaged[random.below(damaged.length)] = random.below(256)
  return damaged
}

function text(random: RandomStream, path: string): string {
  if (random.below(12) === 0) return '[{"a":'.repeat(random.below(3000))
  if (random.below(12) === 0) return JSON.stringify(strange(random, 3)) ?? ''
  const [needed, possible] = VALID[path] ?? [{}, {}]
  const body = { ...needed, ...Object.fromEntries(Object.entries(possible).filter(() => random.below(3) === 0)) }
  const names = [...Object.keys(body), 'max_completion_tokens', 'tools', 'response_format', 'suffix', '__proto__', 'stream_options']
  for (let count = random.below(3); count > 0; count--) body[names[random.below(names.length)]] = strange(random, 2)
  // Of any size, now and then more than a body may have.
  if (random.below(20) === 0 && 'prompt' in body) body.prompt = STRANGE_TEXTS[random.below(6)].repeat(random.below(2 ** random.below(17)))
  return JSON.stringify(body)
}

/** A value of any kind. */
function strange(random: RandomStream, depth: number): unknown {
  const kind = random.below(depth > 0 ? 7 : 5)
  if (kind === 0) return STRANGE_TEXTS[random.below(STRANGE_TEXTS.length)]
  if (kind === 1) return STRANGE_NUMBERS[random.below(STRANGE_NUMBERS.length)]
  if (kind === 2) return random.below(2) === 0
  if (kind === 3) return null
  if (kind === 4) return random.uniform()
  const entries = Array.from({ length: random.below(4) }, () => strange(random, depth - 1))
  if (kind === 5) return entries
  const names = ['role', 'content', 'type', 'text', 'json_schema', 'topK', 'dense', '5', '__proto__', '-1', 'include_usage']
  return Object.fromEntries(entries.map((entry) => [names[random.below(names.length)], entry]))
}
