import { expect, test } from 'vitest'
import { fuzzServer } from './fuzz-server.js'
import { soakServer } from './soak-server.js'
import { withTinyServer } from './tiny-server.js'

/** `npm run soak -- serving` goes on for longer, with more clients, `npm run soak -- fuzz-serving` with more requests. */
const SECONDS = 6
const CLIENTS = 24
const FUZZED = 300

test('clients that come, leave and send nonsense: no wrong stream, no page that is left, no 5xx; at the end it drains', async () => {
  await withTinyServer(async (server) => {
    const report = await soakServer(server, { clients: CLIENTS, seconds: SECONDS, seed: 1 })
    expect(report.faults).toEqual([])
    for (const count of [report.finished, report.left, report.fuzzed, report.prefixHitTokens]) expect(count).toBeGreaterThan(0)

    const fuzzed = await fuzzServer(server, { first: 0, end: FUZZED, seed: 1 })
    expect(fuzzed.faults).toEqual([])
    expect(fuzzed.requests).toBe(FUZZED)
    // Otherwise they are too wrong to try anything.
    expect(fuzzed.statuses[200]).toBeGreaterThan(FUZZED / 10)

    expect(await server.drain()).toBe(true)
  })
}, 60_000)
