import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { writeTinyFolder } from '../serving/tiny-folder.js'
import { ServedProcess } from './served-process.js'
import { soakServer, TIGHT } from './soak-server.js'

/** `npm run soak -- serving` goes on for longer, with more clients. */
const SECONDS = 6
const CLIENTS = 24

let folder: string
let server: ServedProcess
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'phsa-soak-'))
  await writeTinyFolder(folder)
  server = await ServedProcess.start({ tokenizerFolder: folder, port: 0, ...TIGHT })
}, 60_000)
afterAll(async () => {
  server.kill()
  await rm(folder, { recursive: true, force: true })
})

test('clients that come, leave and send nonsense: no wrong stream, no page that is left, no 5xx', async () => {
  const report = await soakServer(server, { clients: CLIENTS, seconds: SECONDS, seed: 1 })
  expect(report.faults).toEqual([])
  for (const count of [report.finished, report.left, report.fuzzed, report.prefixHitTokens]) expect(count).toBeGreaterThan(0)
})

test('at the end it drains', async () => {
  expect(await server.drain()).toBe(true)
})
