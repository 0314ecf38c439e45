import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { isDeepStrictEqual } from 'node:util'
import { Worker } from 'node:worker_threads'
import { RandomStream } from '@phsa/core'
import { type CompletionAnswer, completion, RefusedError, streamedCompletion } from './completion-client.js'
import { fuzzedRequest } from './fuzzed-request.js'
import { type CompletionRequest, randomRequests } from './random-requests.js'
import { fuzzedText, sendFuzzed } from './send-fuzzed.js'
import type { ServedProcess } from './served-process.js'

/** How long and how hard. */
export interface SoakOptions {
  readonly clients: number
  readonly seconds: number
  readonly seed: number
}

/** What a soak found. All is well where `faults` is empty. */
export interface SoakReport {
  readonly clients: number
  readonly seconds: number
  /** Streams that were read to their end, each the same as alone. */
  readonly finished: number
  /** Streams whose clients left. */
  readonly left: number
  /** Answers 429. */
  readonly refused: number
  readonly fuzzed: number
  /** Answers to fuzzed requests by status. */
  readonly statuses: Readonly<Record<string, number>>
  readonly tokens: number
  readonly preemptions: number
  readonly prefixHitTokens: number
  readonly healthMilliseconds: { readonly asked: number; readonly median: number; readonly p99: number; readonly most: number }
  /** Over the run; the first one after a fifth of it. */
  readonly memory: readonly { readonly seconds: number; readonly heapMegabytes: number; readonly residentMegabytes: number }[]
  readonly faults: readonly string[]
}

/** Distinct requests; each is run alone before. */
const REQUESTS = 24
/** A client that leaves does so within this. */
const LONGEST_STAY_MILLISECONDS = 400
const MOST_FAULTS = 20
/** A shorter run is over before the memory of a young process is steady. */
const STEADY_SECONDS = 60
const MOST_GROWTH = { heapMegabytes: 8, residentMegabytes: 64 }

/** Clients against a server: a third of them leave at random, one sends nonsense, one asks for its health. */
export async function soakServer(server: ServedProcess, { clients, seconds, seed }: SoakOptions): Promise<SoakReport> {
  const { url } = server
  const alone: { request: CompletionRequest; answer: CompletionAnswer }[] = []
  for (const request of randomRequests(new RandomStream(seed), REQUESTS)) alone.push({ request, answer: await completion(url, request) })
  await startThreads(url)
  const counts = { finished: 0, left: 0, refused: 0, fuzzed: 0 }
  const statuses: Record<string, number> = {}
  const faults: string[] = []
  const memory: SoakReport['memory'][number][] = []
  const began = performance.now()
  const elapsed = () => (performance.now() - began) / 1000
  const goesOn = () => elapsed() < seconds && faults.length < MOST_FAULTS

  async function client(random: RandomStream): Promise<void> {
    while (goesOn()) {
      const { request, answer } = alone[random.below(alone.length)]
      const leaves = random.below(3) === 0
      const controller = new AbortController()
      const timer = leaves ? setTimeout(() => controller.abort(), random.below(LONGEST_STAY_MILLISECONDS)) : undefined
      try {
        const got = await streamedCompletion(url, request, controller.signal)
        if (!isDeepStrictEqual(got, answer))
          faults.push(`${JSON.stringify(request)} gave ${JSON.stringify(got)} and alone ${JSON.stringify(answer)}`)
        counts.finished++
      } catch (error) {
        if (controller.signal.aborted) counts.left++
        else if (error instanceof RefusedError && error.status === 429 && error.retryAfter > 0) {
          counts.refused++
          // As good clients do: not before, and not all at once.
          await sleep(error.retryAfter * 1000 * (1 + random.uniform()))
        } else faults.push(`${JSON.stringify(request)}: ${error}`)
      } finally {
        clearTimeout(timer)
      }
    }
  }

  async function fuzz(random: RandomStream): Promise<void> {
    while (goesOn()) {
      const request = fuzzedRequest(random)
      const { status } = await sendFuzzed(url, request)
      counts.fuzzed++
      statuses[status] = (statuses[status] ?? 0) + 1
      if (typeof status === 'number' ? status >= 500 : status !== 'closed') faults.push(`${status} for ${fuzzedText(request)}`)
    }
  }

  async function watchMemory(): Promise<void> {
    const pause = Math.max(500, (seconds * 1000) / 20)
    await sleep(seconds * 200)
    while (goesOn()) {
      const { heapBytes, residentBytes } = await server.state()
      memory.push({ seconds: elapsed(), heapMegabytes: heapBytes / 2 ** 20, residentMegabytes: residentBytes / 2 ** 20 })
      await sleep(pause)
    }
  }

  const streams = Array.from({ length: clients }, (_, index) => client(new RandomStream(seed + 1 + index)))
  const [health] = await Promise.all([askHealth(url, seconds), ...streams, fuzz(new RandomStream(seed)), watchMemory()])
  faults.push(...health.faults)
  if (seconds >= STEADY_SECONDS) faults.push(...growth(memory))
  const took = elapsed()
  const { stats } = await server.stateAtRest()
  if (stats.running + stats.waiting + stats.pagesUsed > 0) {
    faults.push(`when all clients were gone: ${stats.running} running, ${stats.waiting} waiting, ${stats.pagesUsed} pages in use`)
  }
  const asked = health.milliseconds.sort((left, right) => left - right)
  const share = (part: number) => asked[Math.min(asked.length - 1, Math.floor(asked.length * part))]
  return {
    clients,
    seconds: took,
    ...counts,
    statuses,
    tokens: stats.tokensMade,
    preemptions: stats.preemptions,
    prefixHitTokens: stats.prefixHitTokens,
    healthMilliseconds: { asked: asked.length, median: share(0.5), p99: share(0.99), most: share(1) },
    memory,
    faults,
  }
}

/** The threads of grammars and of long texts start when they are needed first: not between two measurements of the memory. */
async function startThreads(url: string): Promise<void> {
  await completion(url, { prompt: 'a', max_tokens: 1, response_format: { type: 'json_object' } })
  const headers = { 'content-type': 'application/json' }
  await fetch(`${url}/tokenize`, { method: 'POST', headers, body: JSON.stringify({ prompt: 'a'.repeat(10_000) }) })
}

/** Answers of /health, from a thread of its own. */
async function askHealth(url: string, seconds: number): Promise<{ readonly milliseconds: number[]; readonly faults: string[] }> {
  const worker = new Worker(new URL('ask-health.mjs', import.meta.url), { workerData: { url, milliseconds: seconds * 1000 }, execArgv: [] })
  const [answers] = await once(worker, 'message')
  return answers
}

/** What of the memory has grown from the first to the last measurement. */
function growth(memory: SoakReport['memory']): string[] {
  const [first, last] = [memory[0], memory[memory.length - 1]]
  return (['heapMegabytes', 'residentMegabytes'] as const)
    .filter((name) => last[name] - first[name] > MOST_GROWTH[name])
    .map((name) => `${name} grew from ${first[name].toFixed(1)} to ${last[name].toFixed(1)}`)
}
