import { readdirSync, readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import type { AxeResults } from 'axe-core'
import { type Browser, type BrowserContextOptions, chromium, type Page } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { findChromium } from '../../../scripts/chromium-page.js'
import { type BuiltSite, buildSite } from './built-site.js'

// On a busy machine a build and a page take their time.
vi.setConfig({ testTimeout: 120_000, hookTimeout: 240_000 })

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

/** A page whose text is read; errors of its scripts fail the test that closes it. */
async function open(options: BrowserContextOptions = {}): Promise<{ page: Page; errors: string[] }> {
  const context = await browser!.newContext(options)
  const page = await context.newPage()
  const errors: string[] = []
  page.on('pageerror', (error) => errors.push(error.message))
  await page.goto(site.url)
  await page.locator('#status[data-kind="ready"]').waitFor({ timeout: 100_000 })
  await page.locator('.lane[data-method="phsa"] .lane-recall', { hasText: '%' }).waitFor()
  return { page, errors }
}

const chosenBlocks = (page: Page) => page.locator('#text .block[data-seen="chosen"]').count()

/** Has a short text of the visitor's own read. */
async function read(page: Page, text: string): Promise<void> {
  await page.click('#paste')
  await page.fill('#pasted', text)
  await page.click('button[value="read"]')
  await expect.poll(() => page.textContent('#status-text')).toMatch(/^\d+ tokens · /)
}

/** What axe finds wrong, in words. */
async function faults(page: Page): Promise<string[]> {
  await page.evaluate(readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8'))
  const { violations } = (await page.evaluate('axe.run()')) as AxeResults
  return violations.flatMap(({ id, nodes }) => nodes.map(({ html, failureSummary }) => `${id}: ${html.slice(0, 120)} ${failureSummary}`))
}

test('scripts stay below 300 kB compressed', () => {
  const assets = join(site.folder, 'assets')
  const scripts = readdirSync(assets).filter((name) => name.endsWith('.js'))
  const bytes = scripts.reduce((sum, name) => sum + gzipSync(readFileSync(join(assets, name))).byteLength, 0)
  expect(scripts.length).toBeGreaterThan(1)
  expect(bytes).toBeLessThan(MOST_SCRIPT_BYTES)
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
    await expect.poll(() => chosenBlocks(page)).toBe(5)
    expect(await page.locator('.card li').count()).toBe(4 * 3)
    const before = await page.textContent('#cost')
    await page.locator('#local').fill('4')
    await expect.poll(() => page.textContent('#cost')).not.toBe(before)
    await page.locator('#block-size').fill('1')
    await expect.poll(() => page.locator('#text .block').count()).toBe(32)
    await page.locator('.lane[data-method="oracle"]').click({ position: { x: 20, y: 10 } })
    await expect.poll(() => chosenBlocks(page)).toBe(5)

    await page.locator('#recall-chart svg').waitFor()
    expect(await page.locator('#recall-table tbody tr').count()).toBeGreaterThan(3)
    expect(errors).toEqual([])
    await page.context().close()
  })

  test('once it is loaded it works offline', async () => {
    const { page, errors } = await open()
    await page.context().setOffline(true)
    await read(page, 'The cat sat; the dog stood. '.repeat(40))
    await expect.poll(() => page.textContent('#text')).toContain('The cat sat; the dog stood. The cat')
    expect(await page.locator('#sample option:checked').textContent()).toBe('Pasted text')
    expect(errors).toEqual([])
    await page.context().close()
  })

  test('on a phone nothing is wider than the screen', async () => {
    const { page } = await open({ viewport: { width: 360, height: 740 }, isMobile: true, hasTouch: true })
    const widths = await page.evaluate(() => [document.documentElement.scrollWidth, window.innerWidth])
    expect(widths).toEqual([360, 360])
    await page.context().close()
  })

  test('axe finds nothing wrong, in light and dark', async () => {
    const { page } = await open({ colorScheme: 'light', bypassCSP: true, reducedMotion: 'reduce' })
    // Few tokens: each of them is looked at.
    await read(page, 'The cat, who sat; and the dog: it stood.\n'.repeat(20))
    await page.locator('#recall-chart svg').waitFor()
    expect(await faults(page)).toEqual([])
    await page.emulateMedia({ colorScheme: 'dark' })
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
