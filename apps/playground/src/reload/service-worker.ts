// Keeps a copy of the page for reloads without a network. Whoever serves the page is asked first, so that a new build shows at once and an address that serves
// something else by now does not show this page; only files with a hash in their name are taken from the copy. What is not of the build, such as the API of
// `phsa serve`, is left alone.

/** What a build consists of; offline-copy.ts puts it before this script. */
declare const BUILD: {
  /** Another one for any other content. */
  readonly version: string
  /** Paths from the folder of the page, which is the empty one. */
  readonly files: readonly string[]
}

/** What is used of a service worker's scope: TypeScript's declarations of it contradict those of a page's. */
interface Scope {
  skipWaiting(): Promise<void>
  addEventListener(type: 'install' | 'activate', listener: (event: { waitUntil(done: Promise<unknown>): void }) => void): void
  addEventListener(
    type: 'fetch',
    listener: (event: { readonly request: Request; respondWith(answer: Promise<Response>): void }) => void,
  ): void
}

const scope = globalThis as unknown as Scope
const folder = new URL('./', location.href)
/** Copies of this page; other pages of the same origin have theirs. */
const ours = `phsa-playground ${folder.pathname} `
const name = ours + BUILD.version
const addresses = new Set(BUILD.files.map((file) => new URL(file, folder).href))
const hashed = new URL('assets/', folder).href

scope.addEventListener('install', (event) => event.waitUntil(keepAll()))
scope.addEventListener('activate', (event) => event.waitUntil(dropOlder()))
scope.addEventListener('fetch', (event) => {
  const { origin, pathname } = new URL(event.request.url)
  const address = origin + pathname.replace(/\/index\.html$/, '/')
  if (event.request.method === 'GET' && addresses.has(address)) event.respondWith(answer(event.request, address))
})

async function keepAll(): Promise<void> {
  const cache = await caches.open(name)
  // Names without a hash may stand for older contents in the browser's own cache.
  await cache.addAll([...addresses].map((address) => new Request(address, { cache: address.startsWith(hashed) ? 'default' : 'no-cache' })))
  await scope.skipWaiting()
}

async function dropOlder(): Promise<void> {
  const older = (await caches.keys()).filter((key) => key.startsWith(ours) && key !== name)
  await Promise.all(older.map((key) => caches.delete(key)))
}

async function answer(request: Request, address: string): Promise<Response> {
  const cache = await caches.open(name)
  if (address.startsWith(hashed)) return (await cache.match(address)) ?? fetch(request)
  try {
    return await fetch(request)
  } catch (cause) {
    const copy = await cache.match(address)
    if (copy) return copy
    throw cause
  }
}
