import { execFile } from 'node:child_process'
import { readFileSync, rmSync, writeFileSync } from 'node:fs'
import { cp } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import { hashApiKey } from '@phsa/server'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { writeTinyFolder } from '../../../packages/server/test/serving/tiny-folder.js'
import { readKeyFile } from '../src/serving/read-key-file.js'
import { runHere, temporaryFolder } from './run-phsa.js'
import { type Listening, ServeProcess } from './serve-process.js'

const KEY = 'a-key-of-more-than-16-letters'
const folder = temporaryFolder()
const model = join(folder, 'tiny')
const keyFile = join(folder, 'keys.txt')
const processes: ServeProcess[] = []
/** Windows ends a process at any signal, unasked. */
const hasNoSignals = process.platform === 'win32'

/** Starts a server; its address is there when it listens. */
function serve(...args: string[]) {
  const server = new ServeProcess(['--model', model, ...args])
  processes.push(server)
  return server
}

function complete({ url }: Listening, body: Record<string, unknown>, init: RequestInit = {}): Promise<Response> {
  const headers = { 'content-type': 'application/json', authorization: `Bearer ${KEY}` }
  return fetch(`${url}/v1/completions`, { method: 'POST', headers, body: JSON.stringify({ prompt: 'Once', ...body }), ...init })
}

/** A stream whose first piece has come. */
async function begin(at: Listening, tokens: number, signal?: AbortSignal) {
  const response = await complete(at, { stream: true, max_tokens: tokens }, { signal })
  expect(response.status).toBe(200)
  const reader = response.body!.getReader()
  const decoder = new TextDecoder()
  let text = decoder.decode((await reader.read()).value, { stream: true })
  return {
    /** All that came until the end. */
    async rest(): Promise<string> {
      for (let read = await reader.read(); !read.done; read = await reader.read()) text += decoder.decode(read.value, { stream: true })
      return text
    },
  }
}

async function metric({ url }: Listening, name: string): Promise<number> {
  const response = await fetch(`${url}/metrics`, { headers: { authorization: `Bearer ${KEY}` } })
  const line = (await response.text()).split('\n').find((text) => text.startsWith(`phsa:${name}{`))
  return Number(line?.split(' ').at(-1))
}

async function until(holds: () => Promise<boolean>): Promise<void> {
  while (!(await holds())) await sleep(10)
}

beforeAll(async () => {
  await writeTinyFolder(model)
  writeFileSync(keyFile, `# of the tests\nalice ${KEY} concurrent=3\n`)
})
afterAll(() => {
  for (const server of processes) server.signal('SIGKILL')
  rmSync(folder, { recursive: true, force: true })
})

describe('phsa serve', () => {
  let server: ServeProcess
  let at: Listening
  beforeAll(async () => {
    server = serve(
      '--host',
      '0.0.0.0',
      '--api-key-file',
      keyFile,
      '--max-concurrent',
      '1',
      '--queue',
      '1',
      '--cache-tokens',
      '2048',
      '--dense-below',
      '16',
      '--recall-every',
      '2',
      '--max-top-k',
      '6',
      '--no-dense-requests',
      '--log',
    )
    const { url, ...rest } = await server.listening()
    at = { url: url.replace('0.0.0.0', '127.0.0.1'), ...rest }
  }, 60_000)

  test('says what it serves', () => {
    expect(at).toMatchObject({
      model: 'tiny',
      cacheTokens: 2048,
      keys: 1,
      limits: { maxTokens: 2048, maxWaiting: 1, minTopK: 0, maxTopK: 6, dense: false },
    })
  })

  test('needs the key for everything but its health', async () => {
    expect((await fetch(`${at.url}/health`)).status).toBe(200)
    for (const path of ['/v1/models', '/metrics', '/openapi.json']) expect((await fetch(at.url + path)).status).toBe(401)
    expect((await complete(at, {}, { headers: { 'content-type': 'application/json', authorization: 'Bearer wrong' } })).status).toBe(401)
    const answer = await complete(at, { max_tokens: 3 })
    expect([answer.status, ((await answer.json()) as { usage: unknown }).usage]).toEqual([
      200,
      expect.objectContaining({ completion_tokens: 3 }),
    ])
  })

  test('refuses attention out of its bounds', async () => {
    for (const [param, phsa] of [
      ['phsa.topK', { topK: 7 }],
      ['phsa.dense', { dense: true }],
    ]) {
      const refused = await complete(at, { max_tokens: 1, phsa })
      expect([refused.status, await refused.json()]).toMatchObject([400, { error: { param } }])
    }
    expect((await complete(at, { max_tokens: 1, phsa: { topK: 6 } })).status).toBe(200)
  })

  test('measures the recall of decoding steps, of those that do not see everything', async () => {
    expect(await metric(at, 'attention_recall_count_total')).toBe(0)
    await complete(at, { max_tokens: 40, phsa: { topK: 0 } })
    expect(await metric(at, 'attention_recall_count_total')).toBeGreaterThan(5)
    const share = (await metric(at, 'attention_recall_sum_total')) / (await metric(at, 'attention_recall_count_total'))
    expect(share > 0 && share < 1).toBe(true)
  })

  test('a client that leaves frees its pages', async () => {
    const controller = new AbortController()
    await begin(at, 2000, controller.signal)
    expect(await metric(at, 'kv_cache_usage_perc')).toBeGreaterThan(0)
    controller.abort()
    await until(async () => (await metric(at, 'num_requests_running')) === 0)
    expect(await metric(at, 'kv_cache_usage_perc')).toBe(0)
  })

  test('refuses what is too much: 429 where the queue is full, 413, 400', async () => {
    const controllers = [new AbortController(), new AbortController()]
    await begin(at, 2000, controllers[0].signal)
    const waiting = complete(at, { max_tokens: 2 }, { signal: controllers[1].signal })
    await until(async () => (await metric(at, 'num_requests_waiting')) === 1)
    const refused = await complete(at, { max_tokens: 2 })
    expect([refused.status, Number(refused.headers.get('retry-after'))]).toEqual([429, expect.any(Number)])
    expect(Number(refused.headers.get('retry-after'))).toBeGreaterThan(0)
    controllers[0].abort()
    expect((await waiting).status).toBe(200)
    expect((await complete(at, { prompt: 'x'.repeat(5 * 2 ** 20) })).status).toBe(413)
    expect((await complete(at, { prompt: 'x'.repeat(3000) })).status).toBe(400)
  })

  test('a port that is taken is a clear error', async () => {
    const second = serve('--port', new URL(at.url).port)
    expect([await second.code, second.stderr]).toEqual([
      2,
      expect.stringMatching(/^phsa: 127\.0\.0\.1:\d+ is in use by another program; give another port/),
    ])
  })

  test.skipIf(hasNoSignals)('SIGTERM takes no more requests, finishes those that run, and ends with 0', async () => {
    const stream = await begin(at, 400)
    server.signal('SIGTERM')
    await until(async () => (await fetch(`${at.url}/health`)).status === 503)
    expect((await fetch(`${at.url}/health/live`)).status).toBe(200)
    const refused = await complete(at, { max_tokens: 2 })
    expect([refused.status, refused.headers.get('retry-after')]).toEqual([503, expect.stringMatching(/^\d+$/)])
    const text = await stream.rest()
    expect(text).toMatch(/"finish_reason":"length"[^\n]*\n\n(data: [^\n]*\n\n)?data: \[DONE\]\n\n$/)
    expect(await server.code).toBe(0)
    expect(server.stderr).toMatch(/"route":"\/v1\/completions"/)
    expect(server.stderr).not.toContain('Once')
  })
})

test.skipIf(hasNoSignals)('streams that outlast the grace period end with an error; a second signal does not wait', async () => {
  const [short, long] = [serve('--grace', '0.2'), serve('--grace', '60')]
  const [first, second] = [await short.listening(), await long.listening()]
  const [cut, killed] = [await begin(first, 4000), await begin(second, 4000)]
  short.signal('SIGINT')
  expect(await cut.rest()).toContain('"code":"engine_stopped"')
  expect(await short.code).toBe(130)
  long.signal('SIGTERM')
  await until(async () => (await fetch(`${second.url}/health`)).status === 503)
  long.signal('SIGTERM')
  expect(await long.code).toBe(130)
  await expect(killed.rest()).rejects.toThrow()
})

// curl is not everywhere on Windows, nor is sh.
test.skipIf(process.platform === 'win32')('the command of the README gets an answer', async () => {
  const [line] = /^curl .*$/m.exec(readFileSync(new URL('../README.md', import.meta.url), 'utf8'))!
  const { url } = await serve('--max-tokens', '64').listening()
  const { stdout } = await promisify(execFile)('sh', ['-c', line.replace('http://127.0.0.1:8000', url)])
  expect(JSON.parse(stdout)).toMatchObject({ object: 'chat.completion', choices: [{ message: { role: 'assistant' } }] })
})

describe('before it listens', () => {
  const start = (...args: string[]) => runHere(['serve', '--backend', 'reference', '--port', '0', ...args])

  test.each([
    ['other machines without keys', ['--host', '0.0.0.0'], 'there are no API keys'],
    ['no model there', ['--model', join(folder, 'nothing')], 'nothing: there is no config.json'],
    [
      'a cache smaller than one request',
      ['--cache-tokens', '64', '--max-tokens', '65'],
      'the cache holds 64 tokens, and one request may have 65',
    ],
    ['a cache in GiB that holds nothing', ['--cache-gib', '0.000001'], 'the cache holds 0 tokens'],
    ['more tokens than positions', ['--max-tokens', '5000'], 'the model has 4096 positions'],
    ['bounds of topK that are no range', ['--min-top-k', '4', '--max-top-k', '3'], '--min-top-k is 4 and --max-top-k 3'],
    ['a topK out of the bounds', ['--top-k', '4', '--max-top-k', '3'], 'requests that say nothing get topK 4'],
    ['the topK of the model out of the bounds', ['--min-top-k', '60'], 'and others may ask for 60 to 64; give a --top-k between'],
    ['dense attention where nobody may ask for it', ['--dense', '--no-dense-requests'], '--no-dense-requests'],
    ['fewer step tokens than requests', ['--prefill-chunk', '4', '--max-concurrent', '8'], '--prefill-chunk is 4'],
  ])('%s', async (_, args, message) => {
    const { code, stdout, stderr } = await start('--model', model, ...args)
    expect([code, stdout, stderr]).toEqual([2, '', expect.stringContaining(message)])
  })

  test('a folder without a tokenizer', async () => {
    const bare = join(folder, 'bare')
    await cp(model, bare, { recursive: true })
    rmSync(join(bare, 'tokenizer.json'))
    const { code, stderr } = await start('--model', bare)
    expect([code, stderr]).toEqual([2, expect.stringContaining('has no tokenizer.json')])
  })
})

describe('the file of keys', () => {
  const read = async (text: string) => {
    writeFileSync(join(folder, 'other.txt'), text)
    return readKeyFile(join(folder, 'other.txt'))
  }

  test('holds names, keys or hashes, and limits', async () => {
    const hash = 'AB'.repeat(32)
    const [alice, bob] = await read(`\n# two\nalice ${KEY} concurrent=4 tokens-per-minute=1000 # hers\r\nbob sha256:${hash}\n`)
    expect(alice).toEqual({ name: 'alice', sha256: expect.stringMatching(/^[0-9a-f]{64}$/), maxConcurrent: 4, tokensPerMinute: 1000 })
    expect(bob).toEqual({ name: 'bob', sha256: hash.toLowerCase() })
    // Within a key it is one of its letters.
    expect(await read(`alice ${KEY}#more`)).toEqual([{ name: 'alice', sha256: hashApiKey(`${KEY}#more`) }])
  })

  test.skipIf(process.platform === 'win32')('is what the command of the manifests writes', async () => {
    const manifests = readFileSync(new URL('../../../examples/kubernetes/serving/README.md', import.meta.url), 'utf8')
    const [line] = /^printf .*$/m.exec(manifests)!
    const own = temporaryFolder()
    await promisify(execFile)('sh', ['-c', line], { cwd: own })
    expect((await readKeyFile(join(own, 'keys.txt'))).map(({ name }) => name)).toEqual(['alice', 'metrics'])
    rmSync(own, { recursive: true })
  })

  test.each([
    ['# nothing', /holds no key/],
    [`alice ${KEY}\nbob`, /other\.txt:2 has one word/],
    ['alice short', /other\.txt:1 has a key of 5 letters/],
    ['alice sha256:12', /has a hash that is none/],
    [`alice ${KEY} often=3`, /no limit/],
    [`alice ${KEY} concurrent=0`, /no limit/],
  ])('%j is refused without showing a key', async (text, message) => {
    const error = await read(text).catch((caught: unknown) => caught)
    expect(error).toHaveProperty('message', expect.stringMatching(message))
    expect(`${error}`).not.toContain(KEY)
  })
})
