import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { serveFolder } from '@phsa/server'
import type { AxeResults } from 'axe-core'
import { type Browser, type BrowserContextOptions, chromium, type Page } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { findChromium, visitPage } from '../../../scripts/chromium-page.js'
import { type BuiltSite, buildSite } from './built-site.js'

// On a busy machine a build and a page take their time, and most of all a software adapter, which compiles.
vi.setConfig({ testTimeout: 300_000, hookTimeout: 240_000 })

/** Compressed bytes of all scripts; models and WebAssembly come besides. */
const MOST_SCRIPT_BYTES = 300_000

const executablePath = findChromium()
let site: BuiltSite
let browser: Browser | undefined

beforeAll(async () => {
  site = await buildSite()
  // No flags for WebGPU: the page has to do without.
  if (executablePath) browser = await chromium.launch({ executablePath, args: ['--no-sandbox'] })
})
afterAll(async () => {
  await browser?.close()
  await site?.close()
})

/** A page whose text is read; errors of its scripts, and what it asks for in vain. @param prepare before it is loaded */
async function open(
  options: BrowserContextOptions = {},
  prepare?: (page: Page) => Promise<void>,
  address = site.url,
): Promise<{ page: Page; errors: string[] }> {
  // Most tests need no copy of the page for later.
  const context = await browser!.newContext({ serviceWorkers: 'block', ...options })
  const page = await context.newPage()
  const errors: string[] = []
  page.on('pageerror', (error) => errors.push(error.message))
  page.on('response', (response) => response.status() < 400 || errors.push(`${response.status()} ${response.url()}`))
  await prepare?.(page)
  await page.goto(address)
  await answered(page)
  return { page, errors }
}

/** What becomes true, on a busy machine after a while. */
const eventually = (look: () => Promise<unknown>) => expect.poll(look, { timeout: 60_000 })

/** Waits until the text is read and a token has looked back. */
async function answered(page: Page): Promise<void> {
  await page.locator('#status[data-kind="ready"]').waitFor({ timeout: 250_000 })
  await page.locator('.lane[data-method="phsa"] .lane-recall', { hasText: '%' }).waitFor({ timeout: 250_000 })
}

/** Has the page begin with the first characters of its text. */
async function shorten(page: Page, characters: number): Promise<void> {
  const body = readFileSync(join(site.folder, 'texts/emma.txt'), 'utf8').slice(0, characters)
  await page.route('**/texts/emma.txt', (route) => route.fulfill({ body }))
}

/** What the lanes say, of each method: percent of the attention. */
async function recalls(page: Page): Promise<number[]> {
  return (await page.locator('.lane-recall').allTextContents()).map(Number.parseFloat)
}

/** Keeps what moves while a page loads, and what its status says. */
const WATCH = `
  globalThis.moved = []
  globalThis.said = []
  new PerformanceObserver((list) => {
    for (const { value, sources } of list.getEntries()) moved.push([value, ...sources.map(({ node }) => node?.outerHTML?.slice(0, 80))])
  }).observe({ type: 'layout-shift', buffered: true })
  addEventListener('DOMContentLoaded', () => {
    const status = document.querySelector('#status-text')
    new MutationObserver(() => said.push(status.textContent)).observe(status, { childList: true })
  })
`

const chosenBlocks = (page: Page) => page.locator('#text .block[data-seen="chosen"]').count()

/** Has a short text of the visitor's own read. */
async function read(page: Page, text: string): Promise<void> {
  await page.click('#paste')
  await page.fill('#pasted', text)
  await page.click('button[value="read"]')
  await eventually(() => page.textContent('#status-text')).toMatch(/^\d+ tokens · /)
}

/** What axe finds wrong, in words. */
async function faults(page: Page): Promise<string[]> {
  await page.evaluate(readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8'))
  const { violations } = (await page.evaluate('axe.run()')) as AxeResults
  return violations.flatMap(({ id, nodes }) => nodes.map(({ html, failureSummary }) => `${id}: ${html.slice(0, 120)} ${failureSummary}`))
}

test('scripts stay below 300 kB compressed', () => {
  const scripts = readdirSync(site.folder, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.js'))
  const bytes = scripts.reduce((sum, name) => sum + gzipSync(readFileSync(join(site.folder, name))).byteLength, 0)
  expect(scripts.length).toBeGreaterThan(2)
  expect(bytes).toBeLessThan(MOST_SCRIPT_BYTES)
})

test('licences of what is bundled are with it, the worker’s too', () => {
  const licences = readFileSync(join(site.folder, 'licences.txt'), 'utf8')
  const names = [...licences.matchAll(/^Name: (.*)$/gm)].map(([, name]) => name)
  for (const name of ['comlink', '@preact/signals-core', '@huggingface/tokenizers', '@tensorflow/tfjs-backend-wasm'])
    expect(names).toContain(name)
  expect(licences).toContain('public domain')
  expect(licences).toContain('TERMS AND CONDITIONS FOR USE, REPRODUCTION, AND DISTRIBUTION')
})

describe.skipIf(!executablePath)('in Chromium without WebGPU (PHSA_CHROMIUM names one that is not on the PATH)', () => {
  test('a text is read, a token is chosen by pointer and by keys, and sliders change the selection', async () => {
    const { page, errors } = await open()
    expect(await page.textContent('#device')).toContain('On your CPU')
    expect(await page.textContent('#status-text')).toMatch(/^1,024 tokens, the first of [\d,]+ · 64 blocks · \d+ punctuation marks$/)
    expect(await page.locator('#text .mark').first().textContent()).toMatch(/^\s*[^\w\s]+$/)

    await page.click('#token-1000')
    await page.locator('#token-1000[aria-selected="true"]').waitFor()
    expect(await page.inputValue('#query')).toBe('1000')
    await page.keyboard.press('ArrowLeft')
    await page.locator('#token-999[aria-selected="true"]').waitFor()
    await page.keyboard.press('ArrowUp')
    await page.locator('#token-983[aria-selected="true"]').waitFor()

    await page.locator('#top-k').fill('5')
    await eventually(() => chosenBlocks(page)).toBe(5)
    expect(await page.locator('.card li').count()).toBe(4 * 3)
    const before = await page.textContent('#cost')
    await page.locator('#local').fill('4')
    await eventually(() => page.textContent('#cost')).not.toBe(before)
    await page.locator('#block-size').fill('1')
    await eventually(() => page.locator('#text .block').count()).toBe(32)
    await page.locator('.lane[data-method="oracle"]').click({ position: { x: 20, y: 10 } })
    await eventually(() => chosenBlocks(page)).toBe(5)

    await page.locator('#recall-chart svg').waitFor()
    expect(await page.locator('#recall-table tbody tr').count()).toBeGreaterThan(3)
    expect(errors).toEqual([])
    await page.context().close()
  })

  test('once it is loaded it works offline, after a reload too, under any path, until a new build is served', async () => {
    const root = mkdtempSync(join(tmpdir(), 'phsa-below-'))
    const folder = join(root, 'below/playground')
    cpSync(site.folder, folder, { recursive: true })
    // What is not of the build, as the API of phsa serve.
    mkdirSync(join(folder, 'v1'))
    writeFileSync(join(folder, 'v1/models'), 'answered')
    const ask = () => page.evaluate(() => fetch('v1/models').then((response) => response.text(), String))
    const first = await serveFolder({ folder: root, port: 0 })
    const address = `${first.url}/below/playground/`
    const { page, errors } = await open({ serviceWorkers: 'allow' }, undefined, `${address}?backend=wasm`)
    await page.evaluate(() => navigator.serviceWorker.ready)
    await page.reload()
    expect(await ask()).toBe('answered')
    await first.close()
    // As the documentation leads to it.
    expect((await page.goto(`${address}index.html`))?.status()).toBe(200)
    await page.goto(`${address}?backend=wasm`)
    await answered(page)
    expect(await ask()).toContain('Failed to fetch')
    await read(page, 'The cat sat; the dog stood. '.repeat(40))
    await eventually(() => page.textContent('#text')).toContain('The cat sat; the dog stood. The cat')
    expect(await page.locator('#sample option:checked').textContent()).toBe('Pasted text')

    const script = join(folder, 'service-worker.js')
    const newer = readFileSync(script, 'utf8').replace(/"version":"\w{16}"/, '"version":"newer"')
    writeFileSync(script, newer)
    writeFileSync(join(folder, 'index.html'), readFileSync(join(folder, 'index.html'), 'utf8').replace('<title>', '<title>New '))
    const second = await serveFolder({ folder: root, port: Number(new URL(first.url).port) })
    await page.reload()
    expect(await page.title()).toBe('New PHSA playground')
    await answered(page)
    await eventually(() => page.evaluate(() => caches.keys())).toEqual(['phsa-playground /below/playground/ newer'])
    expect(await page.evaluate(async () => (await (await caches.open((await caches.keys())[0])).match('./'))?.text())).toContain(
      '<title>New ',
    )
    expect(errors).toEqual([])
    await page.context().close()
    await second.close()
    rmSync(root, { recursive: true })
  })

  test.each([
    { device: 'a desktop', width: 1280, height: 2600, isMobile: false },
    { device: 'a phone', width: 360, height: 5200, isMobile: true },
  ])(
    'on $device nothing moves while the page loads and says how far it is, and it is no wider than the screen',
    async ({ width, height, isMobile }) => {
      // As high as the page: what is out of sight would not count.
      const { page } = await open({ viewport: { width, height }, isMobile, hasTouch: isMobile }, async (page) => {
        await page.addInitScript(WATCH)
        // The first paint is of what stands in index.html.
        await page.route('**/assets/index-*.js', async (route) => {
          await new Promise((resolve) => setTimeout(resolve, 300))
          await route.continue()
        })
      })
      await page.locator('#recall-chart svg').waitFor()
      expect(await page.evaluate('moved')).toEqual([])
      expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBe(width)
      const said = await page.evaluate('said')
      for (const words of [/^Loading the model: \d\.\d of \d\.\d MB$/, /^Reading: layer 2 of 2$/, /^1,024 tokens/])
        expect(said).toContainEqual(expect.stringMatching(words))
      await page.context().close()
    },
  )

  test('axe finds nothing wrong, in light and dark, on a desktop and a phone', async () => {
    // Few tokens: each of them is looked at.
    const { page } = await open({ colorScheme: 'light', bypassCSP: true, reducedMotion: 'reduce' }, (page) => shorten(page, 1000))
    await page.locator('#recall-chart svg').waitFor()
    // Every shade, under what is seen and what is not.
    await page.locator('#text .block').evaluateAll((blocks) => {
      for (const [index, block] of blocks.entries()) {
        Object.assign((block as HTMLElement).dataset, { level: index % 6, seen: index < 6 ? 'no' : 'chosen' })
      }
    })
    expect(await faults(page)).toEqual([])
    await page.emulateMedia({ colorScheme: 'dark' })
    await page.setViewportSize({ width: 360, height: 740 })
    expect(await faults(page)).toEqual([])
    await page.context().close()
  })

  test('without a model it says so, and tries again', async () => {
    const page = await browser!.newPage()
    await page.route('**/model/**', (route) => route.fulfill({ status: 404 }))
    await page.goto(site.url)
    await page.locator('#status[data-kind="failed"]').waitFor()
    expect(await page.textContent('#status-text')).toContain('there is no config.json')
    await page.unroute('**/model/**')
    await page.click('#retry')
    await page.locator('#status[data-kind="ready"]').waitFor({ timeout: 100_000 })
    await page.close()
  })

  test('where an API serves the page, its address stands there', async () => {
    const page = await browser!.newPage()
    await page.route('**/model/**', (route) => route.abort())
    await page.route(`${site.url}/`, (route) =>
      route.request().method() === 'HEAD' ? route.fulfill({ headers: { link: '</openapi.json>; rel="service-desc"' } }) : route.continue(),
    )
    await page.goto(site.url)
    await eventually(() => page.inputValue('#address')).toBe(site.url)
    expect(await page.textContent('#server-state')).toBe('')
    await page.close()
  })

  test('it talks to a server, and keeps no key', async () => {
    const { page } = await open()
    const asked: { headers: Record<string, string>; body: unknown }[] = []
    await page.route('http://127.0.0.1:9/v1/models', (route) =>
      route.fulfill({ json: { data: [{ id: 'tiny' }] }, headers: { 'access-control-allow-origin': '*' } }),
    )
    await page.route('http://127.0.0.1:9/v1/chat/completions', async (route) => {
      asked.push({ headers: route.request().headers(), body: route.request().postDataJSON() })
      const chunk = (content: string) => `data: ${JSON.stringify({ choices: [{ delta: { content } }] })}\n\n`
      const usage = `data: ${JSON.stringify({ choices: [], usage: { completion_tokens: 2, phsa: { sparsity: 0.5 } } })}\n\n`
      await route.fulfill({
        body: `${chunk('Miss ')}${chunk('Woodhouse.')}${usage}data: [DONE]\n\n`,
        contentType: 'text/event-stream',
        headers: { 'access-control-allow-origin': '*' },
      })
    })
    // Files alone are served here; with an API beside them its address is known.
    await page.locator('#server-state', { hasText: `phsa serve --model DIR --allow-origin ${site.url}` }).waitFor()
    expect(await page.inputValue('#address')).toBe('')
    await page.fill('#address', 'http://127.0.0.1:9/')
    await page.fill('#key', 'a-secret-key')
    await page.click('#connect')
    await page.locator('#server-state', { hasText: 'Connected to tiny' }).waitFor()
    await page.fill('#message', 'Who is Emma?')
    await page.keyboard.press('Enter')
    await page.locator('#messages', { hasText: 'Miss Woodhouse.' }).waitFor()
    await page.locator('.usage', { hasText: '2 tokens; 50.0 %' }).waitFor()
    expect(asked).toMatchObject([
      {
        headers: { authorization: 'Bearer a-secret-key' },
        body: { model: 'tiny', stream: true, messages: [{ role: 'user', content: 'Who is Emma?' }], phsa: { topK: 2 } },
      },
    ])
    expect(await page.evaluate(() => JSON.stringify([localStorage, sessionStorage, document.cookie]))).toBe('[{},{},""]')
    await page.context().close()
  })
})

test.skipIf(!executablePath)('on WebGPU it sees what it sees without', async (context) => {
  const { page, close } = await visitPage(executablePath!, 'about:blank', async () => undefined)
  try {
    await page.goto(`${site.url}/icon.svg`)
    const hasGpu = await page.evaluate(async () => Boolean(await navigator.gpu?.requestAdapter()))
    if (!hasGpu && process.env.PHSA_REQUIRE_BACKEND !== 'webgpu') context.skip('this Chromium has no WebGPU')
    await shorten(page, 1000)
    await page.goto(`${site.url}?backend=webgpu`)
    await answered(page)
    expect(await page.textContent('#device')).toContain('On your GPU')

    const { page: other } = await open({}, (page) => shorten(page, 1000))
    expect(await page.textContent('#status-text')).toBe(await other.textContent('#status-text'))
    const [shares, expected] = [await recalls(page), await recalls(other)]
    for (const [index, share] of shares.entries()) expect(Math.abs(share - expected[index])).toBeLessThanOrEqual(0.11)
    expect(await chosenBlocks(page)).toBe(2)
    await other.context().close()
  } finally {
    await close()
  }
})
