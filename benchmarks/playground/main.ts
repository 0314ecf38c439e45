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

/** What a browser that has nothing of the page notes while it loads and the first token looks back. */
interface Visit {
  /** Milliseconds from the request to the first content. */
  readonly firstPaint: number
  /** Milliseconds of the longest piece of work on the thread that answers the visitor; the browser notes those from 50 on. */
  readonly longestTask: number
}

async function visit(browser: Browser, url: string): Promise<Visit> {
  const context = await browser.newContext()
  const page = await context.newPage()
  await page.addInitScript(() => {
    const noted: PerformanceEntry[] = []
    Object.assign(globalThis, { noted })
    for (const type of ['paint', 'longtask'])
      new PerformanceObserver((list) => noted.push(...list.getEntries())).observe({ type, buffered: true })
  })
  await page.goto(url)
  await page.locator('.lane[data-method="phsa"] .lane-recall', { hasText: '%' }).waitFor()
  const noted = (await page.evaluate('noted.map((entry) => entry.toJSON())')) as PerformanceEntry[]
  await context.close()
  return {
    firstPaint: noted.find(({ name }) => name === 'first-contentful-paint')!.startTime,
    longestTask: Math.max(0, ...noted.filter(({ entryType }) => entryType === 'longtask').map(({ duration }) => duration)),
  }
}

/** The middle of some numbers, and all of them in order. */
function spread(numbers: readonly number[]) {
  const all = [...numbers].sort((left, right) => left - right)
  return { median: all[Math.floor(all.length / 2)], all }
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
  const load = Math.round(loadavg()[0])
  const visits: Visit[] = []
  for (let index = 0; index < VISITS; index++) visits.push(await visit(browser, site.url))
  const scripts = scriptBytes(site)
  const result = {
    machine: { cpu: cpus()[0].model, cores: cpus().length, load },
    browser: browser.version(),
    firstContentfulPaintMilliseconds: spread(visits.map(({ firstPaint }) => firstPaint)),
    longestTaskMilliseconds: spread(visits.map(({ longestTask }) => longestTask)),
    scriptBytesGzip: { total: Object.values(scripts).reduce((sum, bytes) => sum + bytes, 0), ...scripts },
  }
  writeFileSync(out, `${JSON.stringify(result, null, 2)}\n`)
  console.log(JSON.stringify(result, null, 2))
} finally {
  await browser.close()
  await site.close()
}
