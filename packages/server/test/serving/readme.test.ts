import { execFile } from 'node:child_process'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { ServedProcess } from '../soak/served-process.js'
import { writeTinyFolder } from './tiny-folder.js'

/** A command of the README and what stands below it. */
interface Exchange {
  readonly command: string
  readonly output: string
}

const readme = await readFile(new URL('../../README.md', import.meta.url), 'utf8')
const exchanges: readonly Exchange[] = [...readme.matchAll(/^```console\n([\s\S]*?)^```$/gm)].flatMap(([, block]) =>
  block
    .split(/^\$ /m)
    .slice(1)
    .map((text) => {
      const end = text.indexOf('\n')
      return { command: text.slice(0, end), output: text.slice(end + 1) }
    }),
)

/** A JSON value with the kinds of its values in their place: texts, ids and times differ from run to run. */
function kinds(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(kinds)
  if (value === null || typeof value !== 'object') return value === null ? null : typeof value
  return Object.fromEntries(Object.entries(value).map(([name, entry]) => [name, kinds(entry)]))
}

/** The JSON of an answer, or of the first of its events. */
function json(output: string): Record<string, unknown> {
  return JSON.parse(/^(?:data: )?(\{.*)$/m.exec(output)?.[1] ?? '')
}

let folder: string
let server: ServedProcess
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'phsa-readme-'))
  await writeTinyFolder(folder)
  server = await ServedProcess.start({ tokenizerFolder: folder, modelName: 'my-model', port: 0 })
}, 60_000)
afterAll(async () => {
  server.kill()
  await rm(folder, { recursive: true, force: true })
})

// curl is not everywhere on Windows, nor is sh.
test.skipIf(process.platform === 'win32').each(exchanges)('$command', async ({ command, output }) => {
  const { stdout } = await promisify(execFile)('sh', ['-c', command.replaceAll('http://127.0.0.1:8000', server.url)])
  const [answered, written] = [json(stdout), json(output)]
  expect(kinds(answered)).toEqual(kinds(written))
  for (const name of ['status', 'error', 'object', 'model']) expect(answered[name]).toEqual(written[name])
  expect(stdout.trimEnd().endsWith('data: [DONE]')).toBe(output.trimEnd().endsWith('data: [DONE]'))
})

test('long texts are worked on in a thread of their own, and come back whole', async () => {
  const text = 'Emma Woodhouse, handsome, clever, and rich. '.repeat(500)
  const post = async (route: string, body: object) => {
    const response = await fetch(`${server.url}${route}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(body),
    })
    expect(response.status).toBe(200)
    return (await response.json()) as { tokens: number[]; prompt: string }
  }
  const { tokens } = await post('/tokenize', { prompt: text })
  expect(tokens).toEqual([...Buffer.from(text)])
  expect((await post('/detokenize', { tokens })).prompt).toBe(text)
  const chat = await post('/tokenize', { messages: [{ role: 'user', content: text }] })
  expect(chat.tokens.length).toBeGreaterThan(tokens.length)
})

test('the README has a transcript', () => {
  expect(exchanges.length).toBeGreaterThan(3)
})
