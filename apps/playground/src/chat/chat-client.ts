import { EventSourceParserStream } from 'eventsource-parser/stream'

/** A running `phsa serve`. */
export interface ChatServer {
  /** Without a slash at its end. */
  readonly address: string
  /** Empty where it needs none. */
  readonly key: string
  readonly model: string
}

/** One message of a conversation. */
export interface ChatMessage {
  readonly role: 'user' | 'assistant'
  readonly content: string
}

/** What the attention of an answer saw, from the server's count. */
export interface AnswerUsage {
  readonly tokens: number
  readonly sparsity: number | undefined
}

/** A piece of an answer as it comes, or the count at its end. */
export type AnswerPart = { readonly text: string } | { readonly usage: AnswerUsage }

/** The server refused: its own words. */
export class ChatRefusedError extends Error {
  /** Whether the model cannot converse, only continue texts. */
  readonly needsPlainText: boolean

  constructor(message: string, needsPlainText: boolean) {
    super(message)
    this.name = 'ChatRefusedError'
    this.needsPlainText = needsPlainText
  }
}

/** The address of the API that serves this page itself, which it says in a header; undefined where only files are served. */
export async function ownServer(): Promise<string | undefined> {
  try {
    const { headers } = await fetch(document.baseURI, { method: 'HEAD' })
    return headers.get('link')?.includes('rel="service-desc"') ? new URL('.', document.baseURI).href.replace(/\/$/, '') : undefined
  } catch {
    // The page comes from the browser's copy: nothing serves it.
    return undefined
  }
}

/** Asks a server for its model. @throws Error that says what to do */
export async function connect(address: string, key: string): Promise<ChatServer> {
  const base = address.trim().replace(/\/+$/, '').replace(/\/v1$/, '')
  const response = await ask(`${base}/v1/models`, key)
  const { data } = await bodyOf<{ data: readonly { id: string }[] }>(response)
  return { address: base, key, model: data[0].id }
}

/** The answer to a conversation, piece by piece. @param topK blocks that its attention chooses @throws ChatRefusedError, and what `connect` throws */
export function chat(server: ChatServer, messages: readonly ChatMessage[], topK: number, signal: AbortSignal): AsyncGenerator<AnswerPart> {
  return streamed(server, '/v1/chat/completions', { messages }, topK, signal)
}

/** The continuation of a text, piece by piece. */
export function continueText(server: ChatServer, prompt: string, topK: number, signal: AbortSignal): AsyncGenerator<AnswerPart> {
  return streamed(server, '/v1/completions', { prompt }, topK, signal)
}

/** Tokens of an answer, at most. */
const MOST_TOKENS = 512

interface Chunk {
  readonly error?: { readonly message: string }
  readonly choices?: readonly { readonly text?: string; readonly delta?: { readonly content?: string | null } }[]
  readonly usage?: { readonly completion_tokens: number; readonly phsa?: { readonly sparsity: number } } | null
}

async function* streamed(server: ChatServer, route: string, body: object, topK: number, signal: AbortSignal): AsyncGenerator<AnswerPart> {
  const { address, key, model } = server
  const whole = { model, ...body, max_tokens: MOST_TOKENS, stream: true, stream_options: { include_usage: true }, phsa: { topK } }
  const response = await ask(`${address}${route}`, key, { method: 'POST', body: JSON.stringify(whole), signal })
  const reader = response.body!.pipeThrough(new TextDecoderStream()).pipeThrough(new EventSourceParserStream()).getReader()
  for (let event = await reader.read(); !event.done && event.value.data !== '[DONE]'; event = await reader.read()) {
    const { error, choices, usage } = JSON.parse(event.value.data) as Chunk
    if (error) throw new ChatRefusedError(error.message, false)
    const text = choices?.[0]?.text ?? choices?.[0]?.delta?.content
    if (text) yield { text }
    if (usage) yield { usage: { tokens: usage.completion_tokens, sparsity: usage.phsa?.sparsity } }
  }
}

async function ask(url: string, key: string, init: RequestInit = {}): Promise<Response> {
  const headers = {
    ...(key !== '' && { authorization: `Bearer ${key}` }),
    ...(init.body !== undefined && { 'content-type': 'application/json' }),
  }
  let response: Response
  try {
    response = await fetch(url, { ...init, headers })
  } catch (cause) {
    if (init.signal?.aborted) throw cause
    throw new Error(
      `Nothing answers at ${url}. Is it running, and does it let this page ask? phsa serve --playground serves this page itself; --allow-origin ${location.origin} lets this one in.`,
      { cause },
    )
  }
  if (!response.ok) throw await refusal(response)
  return response
}

async function refusal(response: Response): Promise<ChatRefusedError> {
  const text = await response.text()
  const said = wordsOf(text)
  if (said !== undefined) return new ChatRefusedError(said, said.includes('no chat template'))
  return new ChatRefusedError(`The server answered ${response.status}; it seems to be no phsa serve.`, false)
}

/** The message of an error as the API writes it. */
function wordsOf(text: string): string | undefined {
  try {
    return (JSON.parse(text) as { error?: { message?: string } }).error?.message
  } catch {
    // Not JSON: another server than ours.
    return undefined
  }
}

async function bodyOf<Body>(response: Response): Promise<Body> {
  try {
    return (await response.json()) as Body
  } catch (cause) {
    throw new Error(`${response.url} answered, but not as phsa serve does; check the address.`, { cause })
  }
}
