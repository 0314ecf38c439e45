// Measures what a first visit costs on this machine and writes it to benchmarks/results/playground-page.json:
//
//   npx tsx benchmarks/playground/main.ts
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { cpus, loadavg } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { gzipSync } from 'node:zlib'
import { type Browser, chromium } from 'playwright-core'
import { type BuiltSite, buildSite } from '../../apps/playground/test/built-site.js'
import { findChromium } from '../../scripts/chromium-page.js'

const VISITS = 5
const out = fileURLToPath(new URL('../results/playground-page.json', import.meta.url))

/** Milliseconds from the request of the page to its first paint, in a browser that has nothing of it. */
async function firstPaint(browser: Browser, url: string): Promise<number> {
  const context = await browser.newContext()
  const page = await context.newPage()
  await page.goto(url)
  const painted = await page.evaluate(
    () =>
      new Promise<number>((resolve) => {
        const observer = new PerformanceObserver((list) => {
          for (const { name, startTime } of list.getEntries()) if (name === 'first-contentful-paint') resolve(startTime)
        })
        observer.observe({ type: 'paint', buffered: true })
      }),
  )
  await context.close()
  return painted
}

/** Bytes of each script, compressed. */
function scriptBytes({ folder }: BuiltSite): Record<string, number> {
  const assets = join(folder, 'assets')
  const names = readdirSync(assets).filter((name) => name.endsWith('.js'))
  // Without the hash of its content, which changes with it.
  return Object.fromEntries(
    names.map((name) => [name.replace(/-[\w-]{8}\.js$/, '.js'), gzipSync(readFileSync(join(assets, name))).byteLength]),
  )
}

const executablePath = findChromium()
if (!executablePath) throw new Error('there is no Chromium on the PATH; PHSA_CHROMIUM names one.')
const site = await buildSite()
const browser = await chromium.launch({ executablePath, args: ['--no-sandbox'] })
try {
  const paints: number[] = []
  for (let visit = 0; visit < VISITS; visit++) paints.push(await firstPaint(browser, site.url))
  paints.sort((left, right) => left - right)
  const scripts = scriptBytes(site)
  const result = {
    machine: { cpu: cpus()[0].model, cores: cpus().length, load: Math.round(loadavg()[0]) },
    browser: browser.version(),
    firstContentfulPaintMilliseconds: { median: paints[Math.floor(VISITS / 2)], all: paints },
    scriptBytesGzip: { total: Object.values(scripts).reduce((sum, bytes) => sum + bytes, 0), ...scripts },
  }
  writeFileSync(out, `${JSON.stringify(result, null, 2)}\n`)
  console.log(JSON.stringify(result, null, 2))
} finally {
  await browser.close()
  await site.close()
}
