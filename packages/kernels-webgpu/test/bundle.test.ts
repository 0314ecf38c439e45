import { fileURLToPath } from 'node:url'
import { gzipSync } from 'node:zlib'
import { build, createServer, type Rollup } from 'vite'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type ChromiumPage, findChromium, visitPage } from '../../../scripts/chromium-page.js'

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url))
const ENTRY = 'virtual:entry'
/** Of the package alone, minified and compressed. */
const MOST_BYTES = 150_000

/** What Vite makes of a module with this text, minified, without core. */
async function bundle(text: string): Promise<string> {
  const result = await build({
    configFile: false,
    logLevel: 'error',
    resolve: { alias: { '@phsa/kernels-webgpu': here('../src/index.ts') } },
    plugins: [{ name: 'entry', resolveId: (id) => (id === ENTRY ? id : undefined), load: (id) => (id === ENTRY ? text : undefined) }],
    build: {
      write: false,
      minify: 'esbuild',
      target: 'esnext',
      modulePreload: { polyfill: false },
      rollupOptions: { input: ENTRY, external: ['@phsa/core'], preserveEntrySignatures: 'strict' },
    },
  })
  const [{ output }] = [result].flat() as Rollup.RollupOutput[]
  return output.map((file) => (file.type === 'chunk' ? file.code : file.source)).join('\n')
}

test('a page that uses it loads less than 150 kB', async () => {
  const code = await bundle("export * from '@phsa/kernels-webgpu'")
  expect(code).toContain('@compute')
  expect(gzipSync(code).byteLength).toBeLessThan(MOST_BYTES)
})

test('a page that imports and does not use it loads nothing of it', async () => {
  const code = await bundle("import { webgpu } from '@phsa/kernels-webgpu'\nexport const used = typeof 1")
  expect(code.length).toBeLessThan(200)
})

describe('examples/browser-attention, as Vite serves it', () => {
  const executable = findChromium()
  let opened: ChromiumPage | undefined
  beforeAll(async () => {
    if (!executable) return
    const server = await createServer({
      configFile: false,
      logLevel: 'error',
      root: here('../../../examples/browser-attention'),
      cacheDir: here('../../../node_modules/.cache/vite-browser-attention'),
      // Sources for packages that are not built; nothing else is configured.
      resolve: { alias: { '@phsa/core': here('../../core/src/index.ts'), '@phsa/kernels-webgpu': here('../src/index.ts') } },
      server: { port: 0, host: 'localhost', fs: { allow: [here('../../..')] } },
    })
    await server.listen()
    opened = await visitPage(executable, `${server.resolvedUrls?.local[0]}?tokens=300`, () => server.close())
  }, 60_000)
  afterAll(() => opened?.close())

  test('prints device and time', async (context) => {
    // The example is a page, and a page needs a browser.
    if (!opened) return context.skip('there is no Chromium on the PATH; PHSA_CHROMIUM names one')
    const report = opened.page.locator('#report')
    await opened.page.waitForFunction("document.querySelector('#report').textContent !== 'starting…'", undefined, { timeout: 120_000 })
    expect(await report.textContent()).toMatch(/\n300 tokens in \d+\.\d ms; the first number is -?0\.\d{6}$/)
  }, 150_000)
})
