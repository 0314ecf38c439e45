import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { delimiter, join } from 'node:path'
import { type Browser, chromium, type Page } from 'playwright-core'
import { build, type Rollup } from 'vite'

const NAMES = ['chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable', 'chrome']

/** Software rendering throughout; the canvas that TensorFlow.js reads through is empty where only WebGPU has it. */
const FLAGS = [
  '--no-sandbox',
  '--enable-unsafe-webgpu',
  '--use-webgpu-adapter=swiftshader',
  '--enable-features=Vulkan',
  '--use-vulkan=swiftshader',
  '--use-angle=swiftshader',
  // On a busy machine software rendering looks hung.
  '--disable-gpu-watchdog',
]

/** The browser that PHSA_CHROMIUM names, or the first on the PATH. */
export function findChromium(): string | undefined {
  if (process.env.PHSA_CHROMIUM) return process.env.PHSA_CHROMIUM
  const folders = (process.env.PATH ?? '').split(delimiter)
  return folders.flatMap((folder) => NAMES.map((name) => join(folder, name))).find((file) => existsSync(file))
}

/** A page of a headless browser. */
export interface ChromiumPage {
  readonly page: Page
  close(): Promise<void>
}

/** What a page runs. */
export interface PageSource {
  /** The module. */
  readonly entry: string
  /** Sources that stand for packages. */
  readonly alias: Record<string, string>
  /** Files that the page may fetch, by path from the root: `/model/config.json`. */
  readonly files?: Record<string, string>
}

/** Calls functions that a page put into a global, by their names. Everything goes to and fro as JSON. */
export function callerOf<Functions>(global: string) {
  return async <Name extends keyof Functions & string>(
    { page }: ChromiumPage,
    name: Name,
    ...args: Functions[Name] extends (...args: infer Args) => unknown ? Args : never
  ) => {
    type Result = Functions[Name] extends (...args: never[]) => infer Value ? Awaited<Value> : never
    return (await page.evaluate(`globalThis.${global}.${name}(...${JSON.stringify(args)})`)) as Result
  }
}

/** Bundles a module for browsers and opens a page that runs it. WebGPU wants a secure context, and localhost is one. */
export async function openChromiumPage(executablePath: string, { entry, alias, files = {} }: PageSource): Promise<ChromiumPage> {
  const result = await build({
    configFile: false,
    logLevel: 'error',
    resolve: { alias: Object.entries(alias).map(([name, file]) => ({ find: new RegExp(`^${name}$`), replacement: file })) },
    build: { write: false, minify: false, target: 'esnext', lib: { entry, formats: ['es'], fileName: 'page' } },
  })
  const [{ output }] = [result].flat() as Rollup.RollupOutput[]
  const modules = new Map(output.map((file) => [`/${file.fileName}`, file.type === 'chunk' ? file.code : file.source]))
  const entryFile = output.find((file) => file.type === 'chunk' && file.isEntry)?.fileName
  const server = createServer(async (request, response) => {
    const path = request.url ?? ''
    if (Object.hasOwn(files, path)) return response.end(await readFile(files[path]))
    const code = modules.get(path)
    response.setHeader('content-type', code === undefined ? 'text/html' : 'text/javascript')
    response.end(code ?? `<!doctype html><script type="module" src="/${entryFile}"></script>`)
  })
  return visitPage(executablePath, `http://localhost:${await listening(server)}/`, async () => void server.close())
}

/** Opens a page that a server has. @param closeServer called with the page's own end */
export async function visitPage(executablePath: string, address: string, closeServer: () => Promise<void>): Promise<ChromiumPage> {
  let browser: Browser | undefined
  const close = async () => {
    await browser?.close()
    await closeServer()
  }
  try {
    browser = await chromium.launch({ executablePath, args: FLAGS })
    const page = await browser.newPage()
    await page.goto(address)
    return { page, close }
  } catch (error) {
    await close()
    throw error
  }
}

function listening(server: Server): Promise<number> {
  return new Promise((resolve) => server.listen(0, 'localhost', () => resolve((server.address() as AddressInfo).port)))
}
