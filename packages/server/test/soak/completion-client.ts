import type { CompletionRequest } from './random-requests.js'

/** What tells one answer from another: the text, the tokens with their log-probabilities where they were asked for, and why it ended. */
export interface CompletionAnswer {
  readonly text: string
  readonly tokens: readonly string[]
  readonly logprobs: readonly number[]
  readonly reason: string | null
}

interface Choice {
  readonly text: string
  readonly logprobs: { readonly tokens: string[]; readonly token_logprobs: number[] } | null
  readonly finish_reason: string | null
}

/** An answer that was no success; `status` is that of HTTP, or 0 for an error within a stream. */
export class RefusedError extends Error {
  readonly status: number
  /** Seconds, of its header Retry-After; 0 without one. */
  readonly retryAfter: number

  constructor(status: number, text: string, retryAfter = 0) {
    super(`${status}: ${text}`)
    this.status = status
    this.retryAfter = retryAfter
  }
}

/** Asks for a whole answer at once. */
export async function completion(url: string, request: CompletionRequest): Promise<CompletionAnswer> {
  const response = await post(url, request)
  const { choices } = (await response.json()) as { choices: Choice[] }
  return joined(choices)
}

/** Asks for a stream and reads it to its end. @throws RefusedError; the signal's reason */
export async function streamedCompletion(url: string, request: CompletionRequest, signal: AbortSignal): Promise<CompletionAnswer> {
  const response = await post(url, { ...request, stream: true }, signal)
  const text = await response.text()
  const events = text.split('\n\n').filter(Boolean)
  if (events.pop() !== 'data: [DONE]') throw new RefusedError(0, `a stream without its end: ${text.slice(-300)}`)
  const chunks = events.map((event) => JSON.parse(event.slice('data: '.length)) as { choices: Choice[] })
  return joined(chunks.flatMap(({ choices }) => choices))
}

async function post(url: string, body: unknown, signal?: AbortSignal): Promise<Response> {
  const headers = { 'content-type': 'application/json' }
  const response = await fetch(`${url}/v1/completions`, { method: 'POST', headers, body: JSON.stringify(body), signal })
  if (!response.ok) throw new RefusedError(response.status, await response.text(), Number(response.headers.get('retry-after') ?? 0))
  return response
}

function joined(choices: readonly Choice[]): CompletionAnswer {
  return {
    text: choices.map(({ text }) => text).join(''),
    tokens: choices.flatMap(({ logprobs }) => logprobs?.tokens ?? []),
    logprobs: choices.flatMap(({ logprobs }) => logprobs?.token_logprobs ?? []),
    reason: choices.at(-1)?.finish_reason ?? null,
  }
}
