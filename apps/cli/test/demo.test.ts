import { existsSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { beforeAll, describe, expect, test } from 'vitest'
import type { DemoResults } from '../src/demo/demo-results.js'
import { demoText } from '../src/demo/demo-text.js'
import { heldOutNovel } from '../src/demo/held-out-novel.js'
import { copyAssets, runHere, temporaryFolder } from './run-phsa.js'
import { ServeProcess } from './serve-process.js'

const SMALL = ['--tokens', '256', '--max-new-tokens', '3', '--backend', 'tfjs-wasm']
const inAssets = (path: string) => fileURLToPath(new URL(`../assets/${path}`, import.meta.url))

describe('phsa demo', () => {
  let results: DemoResults
  beforeAll(async () => {
    copyAssets()
    const { code, stdout, stderr } = await runHere(['demo', ...SMALL, '--json'])
    expect(code, stderr).toBe(0)
    results = JSON.parse(stdout)
  }, 60_000)

  test('dense, mean-pool and PHSA have read the same and written as much', () => {
    expect(results.rows.map(({ policy, activatedTokens }) => [policy, activatedTokens])).toEqual([
      ['dense', 256],
      ['mean-pool', 176],
      ['phsa', 176],
    ])
    for (const { promptSeconds, tokenSeconds, text } of results.rows) {
      expect(promptSeconds).toBeGreaterThan(0)
      expect(tokenSeconds).toBeGreaterThan(0)
      expect(text).not.toBe('')
    }
  })

  test('the model is trained, and what attention leaves out shows', () => {
    // Untrained it would be near the size of the vocabulary, 8,192.
    for (const { perplexity } of results.rows) expect(perplexity).toBeLessThan(200)
    expect(new Set(results.rows.map(({ perplexity }) => perplexity)).size).toBe(3)
  })

  test('the prompt goes on in the novel with what the model did not see', () => {
    const { promptEnd, continuation } = results.document
    expect(heldOutNovel()).toContain(promptEnd + continuation)
  })

  test('as text: a line for each, what it means, and the three continuations', () => {
    const text = demoText(results)
    for (const { text: written } of results.rows) expect(text).toContain(written.trim().split(/\s+/)[0])
    for (const words of ['dense ', 'mean-pool topK 2', 'phsa topK 2', 'used to', 'words, not sense', results.document.continuation.trim()])
      expect(text).toContain(words)
    expect(text).not.toMatch(/NaN|undefined/)
  })

  test('more tokens than there are', async () => {
    const { code, stderr } = await runHere(['demo', '--tokens', '40000', '--json', '--backend', 'tfjs-wasm'])
    expect(code).toBe(2)
    expect(stderr).toContain('--tokens is 40000; the model and the bundled novel have 32768')
  })
})

test.runIf(existsSync(inAssets('playground/index.html')))(
  'with --serve the page and the API follow, until Ctrl-C (where the pages are built)',
  async () => {
    const out = join(temporaryFolder(), 'demo.json')
    const demo = new ServeProcess(SMALL, ['demo', '--serve', '--out', out])
    await demo.printed('Ctrl-C')
    expect(JSON.parse(readFileSync(out, 'utf8')).rows).toHaveLength(3)
    const [, page] = /playground is at (\S+)/.exec(demo.stdout) ?? []
    const [, api] = /API is at (\S+),/.exec(demo.stdout) ?? []
    expect(await (await fetch(page)).text()).toContain('<title>')
    expect((await fetch(`${page}model/config.json`)).status).toBe(200)
    const body = JSON.stringify({ model: 'phsa-demo', prompt: 'It was', max_tokens: 2 })
    const answer = await fetch(`${api}/completions`, { method: 'POST', headers: { 'content-type': 'application/json' }, body })
    expect(await answer.json()).toMatchObject({ usage: { completion_tokens: 2 } })
    demo.signal('SIGINT')
    expect(await demo.code).toBe(0)
  },
)

test('the bundled model is small enough to come with the package', () => {
  const bytes = ['model.safetensors', 'tokenizer.json', 'config.json'].map((name) => statSync(inAssets(`playground/model/${name}`)).size)
  expect(bytes.reduce((sum, size) => sum + size)).toBeLessThan(10e6)
})
