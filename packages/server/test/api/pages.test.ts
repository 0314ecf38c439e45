import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { hashApiKey } from '../../src/index.js'
import { listen, tinyEngine } from './api-server.js'

test('pages are served beside the API, without a key', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'phsa-pages-'))
  writeFileSync(join(folder, 'index.html'), '<!doctype html><title>page</title>')
  const engine = await tinyEngine()
  const server = await listen(engine, { pages: folder, keys: [{ name: 'alice', sha256: hashApiKey('a-key-of-more-than-16-letters') }] })
  const page = await fetch(`${server.url}/`)
  expect(page.status).toBe(200)
  expect(await page.text()).toContain('<title>page</title>')
  expect((await fetch(`${server.url}/`, { method: 'HEAD' })).headers.get('link')).toBe('</openapi.json>; rel="service-desc"')
  expect((await fetch(`${server.url}/v1/models`)).status).toBe(401)
  expect((await fetch(`${server.url}/none.js`)).status).toBe(401)
  await server.close()
  await engine.stop()
  rmSync(folder, { recursive: true })
})
