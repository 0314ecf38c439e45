import { isDeepStrictEqual } from 'node:util'
import { RandomStream } from '@phsa/core'
import { completion } from './completion-client.js'
import { fuzzedRequest } from './fuzzed-request.js'
import { type FuzzedAnswer, fuzzedText, sendFuzzed } from './send-fuzzed.js'
import type { ServedProcess } from './served-process.js'

/** Which requests: number `first` up to, not including, `end`, of a seed. */
export interface FuzzRange {
  readonly first: number
  readonly end: number
  readonly seed: number
}

/** What came of them. All is well where `faults` is empty. */
export interface FuzzReport {
  readonly requests: number
  /** Answers by status; `closed` where damaged bytes were no request. */
  readonly statuses: Readonly<Record<string, number>>
  readonly residentMegabytes: number
  readonly faults: readonly string[]
}

/** At once. */
const CONNECTIONS = 8
const MOST_FAULTS = 20
const PLAIN = { prompt: 'It is a truth', max_tokens: 8, seed: 1 }

/** Broken and hostile requests against a server: none may be answered 5xx or not at all, and afterwards it has to be as before. */
export async function fuzzServer(server: ServedProcess, { first, end, seed }: FuzzRange): Promise<FuzzReport> {
  const { url } = server
  const statuses: Record<string, number> = {}
  const faults: string[] = []
  const before = await completion(url, PLAIN)
  let next = first

  async function client(): Promise<void> {
    while (next < end && faults.length < MOST_FAULTS) {
      const number = next++
      const request = fuzzedRequest(new RandomStream((seed + number) % 2 ** 32))
      const answer = await sendFuzzed(url, request)
      statuses[answer.status] = (statuses[answer.status] ?? 0) + 1
      const fault = faultOf(answer, request.raw !== undefined)
      if (fault !== undefined) faults.push(`request ${number}: ${fault}, for ${fuzzedText(request)}`)
    }
  }

  await Promise.all(Array.from({ length: CONNECTIONS }, client))
  const after = await completion(url, PLAIN)
  if (!isDeepStrictEqual(after, before))
    faults.push(`${JSON.stringify(PLAIN)} gave ${JSON.stringify(before)}, later ${JSON.stringify(after)}`)
  // Also of clients that did not see their answers.
  const failed = (await (await fetch(`${url}/metrics`)).text())
    .split('\n')
    .filter((line) => /^phsa:http_requests_total.*status="5/.test(line))
  faults.push(...failed)
  const { stats, residentBytes } = await server.stateAtRest()
  if (stats.running + stats.waiting + stats.pagesUsed > 0)
    faults.push(`at the end: ${stats.running} running, ${stats.waiting} waiting, ${stats.pagesUsed} pages in use`)
  return { requests: next - first, statuses, residentMegabytes: residentBytes / 2 ** 20, faults }
}

function faultOf({ status, body }: FuzzedAnswer, isDamaged: boolean): string | undefined {
  if (typeof status !== 'number') return isDamaged && status === 'closed' ? undefined : status
  if (status >= 500) return `${status} ${body.slice(0, 300)}`
  // HEAD has no body, nor have answers of Node itself to what is no HTTP.
  if (status < 400 || isDamaged || body === '') return undefined
  return body.startsWith('{"error":{"message":"') ? undefined : `${status} without a message: ${body.slice(0, 300)}`
}
