import { setMaxListeners } from 'node:events'
import { request as post } from 'node:http'

/** One streamed completion. Plain data. */
export interface StreamRequest {
  /** Token ids. */
  readonly prompt: readonly number[]
  readonly maxTokens: number
  readonly dense: boolean
  readonly temperature: number
  readonly seed: number
  readonly logprobs: boolean
  /** API key: streams of other keys share no cached prompt. */
  readonly key: string
}

/** What came of one. Milliseconds of this machine's clock, since 1970. Plain data. */
export interface StreamAnswer {
  readonly sent: number
  /** When each token was there. */
  readonly times: readonly number[]
  readonly ids: readonly number[]
  /** One a token, where they were asked for. */
  readonly logprobs: readonly number[]
  /** Of the end; undefined where the client left before. */
  readonly reason: string | undefined
}

/** Streams that run together. Plain data. */
export interface StreamJob {
  readonly url: string
  readonly requests: readonly StreamRequest[]
  /** All of them end with an error after so long. */
  readonly limitMilliseconds: number
  /** Whether the first that ends, ends all. */
  readonly together: boolean
}

interface Chunk {
  readonly error?: { readonly message: string }
  readonly choices?: readonly {
    readonly text: string
    readonly finish_reason: string | null
    readonly logprobs: { readonly token_logprobs: readonly number[] } | null
  }[]
}

/** Milliseconds since 1970, of the same steady clock in all threads. */
export function clock(): number {
  return performance.timeOrigin + performance.now()
}

/** Sends the requests at once and reads all streams. @throws Error of the first that is refused, fails, or takes too long */
export async function readStreams({ url, requests, limitMilliseconds, together }: StreamJob): Promise<StreamAnswer[]> {
  const ending = new AbortController()
  // Every stream listens.
  setMaxListeners(0, ending.signal)
  const bodies = requests.map(bodyOf)
  const timer = setTimeout(() => ending.abort(new Error(`the streams took more than ${limitMilliseconds / 1000} s`)), limitMilliseconds)
  const isOver = Symbol('over')
  try {
    return await Promise.all(
      requests.map(async (request, index) => {
        const answer = await readStream(url, request, bodies[index], ending.signal, isOver)
        if (together) ending.abort(isOver)
        return answer
      }),
    )
  } catch (error) {
    ending.abort(error)
    throw error
  } finally {
    clearTimeout(timer)
  }
}

function bodyOf({ prompt, maxTokens, dense, temperature, seed, logprobs }: StreamRequest): string {
  return JSON.stringify({
    prompt,
    max_tokens: maxTokens,
    temperature,
    seed,
    stream: true,
    ignore_eos: true,
    ...(logprobs && { logprobs: 0 }),
    ...(dense && { phsa: { dense: true } }),
  })
}

/** Every token of the tokenizer is a word that ends with its id (see `writeServeTokenizer`). */
const WORD = /t(\d+)/g

function readStream(url: string, { key }: StreamRequest, body: string, signal: AbortSignal, isOver: symbol): Promise<StreamAnswer> {
  return new Promise((resolve, reject) => {
    const times: number[] = []
    const ids: number[] = []
    const logprobs: number[] = []
    let reason: string | undefined
    let rest = ''
    const headers = { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body), authorization: `Bearer ${key}` }
    const sent = clock()
    const finish = () => resolve({ sent, times, ids, logprobs, reason })
    const fail = (error: unknown) => (signal.reason === isOver ? finish() : reject(signal.aborted ? signal.reason : error))
    const take = (event: string, now: number) => {
      if (event === 'data: [DONE]' || event === '') return
      const { error, choices = [] } = JSON.parse(event.slice('data: '.length)) as Chunk
      if (error) throw new Error(error.message)
      for (const choice of choices) {
        for (const [, id] of choice.text.matchAll(WORD)) {
          ids.push(Number(id))
          times.push(now)
        }
        logprobs.push(...(choice.logprobs?.token_logprobs ?? []))
        reason = choice.finish_reason ?? reason
      }
    }
    const call = post(`${url}/v1/completions`, { method: 'POST', headers, signal }, (response) => {
      response.setEncoding('utf8')
      response.on('data', (text: string) => {
        const now = clock()
        rest += text
        if (response.statusCode !== 200) return
        const events = rest.split('\n\n')
        rest = events.pop()!
        try {
          for (const event of events) take(event, now)
        } catch (error) {
          reject(error)
          call.destroy()
        }
      })
      response.on('error', fail)
      response.on('end', () => {
        if (response.statusCode !== 200) reject(new Error(`${response.statusCode}: ${rest.slice(0, 300)}`))
        else if (reason === undefined) fail(new Error('a stream ended without its end'))
        else finish()
      })
    })
    call.on('error', fail)
    call.end(body)
  })
}
