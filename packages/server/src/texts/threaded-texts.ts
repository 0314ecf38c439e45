import { Worker } from 'node:worker_threads'
import { ApiError } from '../api/api-error.js'
import type { Conversation } from '../api/schemas/chat-schema.js'
import { QueueFullError } from '../engine/queue-full-error.js'
import { errorFrom } from '../port/error-message.js'
import { threadScript } from '../thread-script.js'
import type { TextAnswer, TextJob, TextWorkerData } from './text-messages.js'
import type { Texts } from './texts.js'

/** What is shorter is done at once: about ten milliseconds at most. */
const SHORT_CHARACTERS = 8192
const SHORT_IDS = 4096
/** Long texts that may wait for their turn. */
const MOST_WAITING = 64

interface Waiting {
  readonly job: TextJob
  readonly resolve: (result: Int32Array | string) => void
  readonly reject: (reason: unknown) => void
}

/** Where jobs are done one after the other; a `Worker` is such a one. */
export interface TextThread {
  postMessage(job: TextJob): void
  on(event: 'message', take: (answer: TextAnswer) => void): unknown
  on(event: 'error' | 'exit', end: (reason: unknown) => void): unknown
}

/** Short texts in the calling thread, long ones in a thread of their own, which starts with the first of them. */
export class ThreadedTexts implements Texts {
  readonly #inline: Texts
  readonly #start: () => TextThread
  readonly #waiting: Waiting[] = []
  /** What the thread is at. */
  #current: Waiting | undefined
  #thread: TextThread | undefined

  /** @param inline of the same tokenizer */
  constructor(inline: Texts, start: () => TextThread) {
    this.#inline = inline
    this.#start = start
  }

  /** @returns texts of the tokenizer in the folder */
  static ofFolder(inline: Texts, tokenizerFolder: string): ThreadedTexts {
    const workerData: TextWorkerData = { tokenizerFolder }
    return new ThreadedTexts(inline, () => new Worker(threadScript('./text-worker', import.meta.url), { workerData }))
  }

  async encode(text: string, signal?: AbortSignal): Promise<Int32Array> {
    if (text.length <= SHORT_CHARACTERS) return this.#inline.encode(text, signal)
    return (await this.#do({ type: 'encode', text }, signal)) as Int32Array
  }

  async encodeChat(conversation: Conversation, addGenerationPrompt: boolean, signal?: AbortSignal): Promise<Int32Array> {
    if (charactersOf(conversation) <= SHORT_CHARACTERS) return this.#inline.encodeChat(conversation, addGenerationPrompt, signal)
    return (await this.#do({ type: 'encode-chat', conversation, addGenerationPrompt }, signal)) as Int32Array
  }

  async decode(ids: readonly number[], signal?: AbortSignal): Promise<string> {
    if (ids.length <= SHORT_IDS) return this.#inline.decode(ids, signal)
    return (await this.#do({ type: 'decode', ids }, signal)) as string
  }

  #do(job: TextJob, signal: AbortSignal | undefined): Promise<Int32Array | string> {
    signal?.throwIfAborted()
    if (this.#waiting.length >= MOST_WAITING) {
      throw new QueueFullError(`${MOST_WAITING} long texts wait to be tokenized, as many as may; try again later.`)
    }
    let leave = () => {}
    const result = new Promise<Int32Array | string>((resolve, reject) => {
      const waiting: Waiting = { job, resolve, reject }
      // What the thread is at comes to its end, and nobody takes it.
      leave = () => {
        const index = this.#waiting.indexOf(waiting)
        if (index >= 0) this.#waiting.splice(index, 1)
        reject(signal?.reason)
      }
      signal?.addEventListener('abort', leave)
      this.#waiting.push(waiting)
      this.#next()
    })
    return result.finally(() => signal?.removeEventListener('abort', leave))
  }

  #next(): void {
    if (this.#current || this.#waiting.length === 0) return
    this.#current = this.#waiting.shift()!
    this.#thread ??= this.#listen(this.#start())
    this.#thread.postMessage(this.#current.job)
  }

  #listen(thread: TextThread): TextThread {
    thread.on('message', (answer) => {
      const { resolve, reject } = this.#current!
      this.#current = undefined
      if (answer.type === 'done') resolve(answer.result)
      else if (answer.type === 'failed') reject(errorFrom(answer.error))
      else {
        const { status, message, param, code } = answer.refusal
        reject(new ApiError(status, message, { ...(param !== null && { param }), ...(code !== null && { code }) }))
      }
      this.#next()
    })
    const end = (reason: unknown) => {
      if (this.#thread !== thread) return
      this.#thread = undefined
      this.#current?.reject(reason instanceof Error ? reason : new Error('the thread of texts has ended.'))
      this.#current = undefined
      this.#next()
    }
    thread.on('error', end)
    thread.on('exit', end)
    return thread
  }
}

/** What a template writes around a message, about: many empty ones are long, too. */
const AROUND_A_MESSAGE = 32

/** Enough to tell long from short: JSON of a conversation is hardly longer than its prompt. */
function charactersOf({ messages, tools }: Conversation): number {
  let characters = messages.length * AROUND_A_MESSAGE
  for (const { content } of messages) {
    if (typeof content === 'string') characters += content.length
    else for (const part of content ?? []) characters += part.text.length
  }
  // Calls and tools are small where the rest is; written once they are counted as a template writes them.
  const calls = messages.map((message) => (message.role === 'assistant' ? (message.tool_calls ?? []) : []))
  return characters + JSON.stringify(tools ?? []).length + JSON.stringify(calls).length
}
