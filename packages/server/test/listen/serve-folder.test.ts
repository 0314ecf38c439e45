import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { serveFolder } from '../../src/index.js'

const folder = mkdtempSync(join(tmpdir(), 'phsa-pages-'))
beforeAll(() => {
  mkdirSync(join(folder, 'site/assets'), { recursive: true })
  writeFileSync(join(folder, 'secret.txt'), 'secret')
  writeFileSync(join(folder, 'site/index.html'), '<!doctype html><title>page</title>')
  writeFileSync(join(folder, 'site/assets/a.wasm'), Uint8Array.of(0, 97, 115, 109))
})
afterAll(() => rmSync(folder, { recursive: true }))

test('it answers with files and their types, and nothing outside of the folder', async () => {
  const served = await serveFolder({ folder: join(folder, 'site'), port: 0 })
  expect(served.url).toMatch(/^http:\/\/127\.0\.0\.1:\d+$/)
  const page = await fetch(`${served.url}/`)
  expect(page.headers.get('content-type')).toMatch(/^text\/html/)
  expect(await page.text()).toContain('<title>page</title>')
  expect((await fetch(`${served.url}/assets/a.wasm`)).headers.get('content-type')).toBe('application/wasm')
  for (const path of ['/none', '/..%2fsecret.txt', '/assets/..%2f..%2fsecret.txt']) {
    expect((await fetch(`${served.url}${path}`)).status).toBe(404)
  }
  await served.close()
  await expect(fetch(`${served.url}/`)).rejects.toThrow('fetch failed')
})

test('an address that others reach is refused', async () => {
  await expect(serveFolder({ folder, host: '0.0.0.0', port: 0 })).rejects.toThrow('reached from other machines')
})
